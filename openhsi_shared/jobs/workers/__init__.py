"""Workers, in threads, in processes or on other computers, and the blocks of lines that they work on."""
