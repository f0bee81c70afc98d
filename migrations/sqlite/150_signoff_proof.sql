-- Why it is proven who gave a word, or why not; empty while nobody has looked.
ALTER TABLE signoffs ADD COLUMN proof TEXT NOT NULL DEFAULT '';
