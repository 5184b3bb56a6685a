"""What the tests of flowrra share with those of its custom parts. Never imported by the product; needs no pytest."""
