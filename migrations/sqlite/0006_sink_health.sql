-- How each sink is doing, as who sends for it said last.
ALTER TABLE sinks ADD COLUMN health TEXT NOT NULL DEFAULT '';   -- JSON; empty: nobody has said
