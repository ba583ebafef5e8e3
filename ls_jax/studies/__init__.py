"""Studies: pure functions over arrays (logits, features, labels, kernel, bias), whichever framework produced them."""
