PREQUANTISED = ("-unsloth-bnb-4bit", "-bnb-4bit")
