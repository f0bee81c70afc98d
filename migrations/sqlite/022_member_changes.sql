-- Who joined and who left, in order: what API processes bring their index of members up to date from. Triggers keep it, so that no way
-- of becoming a member can be forgotten. `reload` says that the index must be read anew (an address was blanked, which no row here may
-- repeat). Old rows go; it is in no backup.
CREATE TABLE member_changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    what TEXT NOT NULL CHECK (what IN ('join', 'leave', 'reload')),
    program TEXT NOT NULL,
    cohort TEXT NOT NULL,
    user_id TEXT NOT NULL
) STRICT;

CREATE TRIGGER member_joined AFTER INSERT ON cohort_members BEGIN
    INSERT INTO member_changes (what, program, cohort, user_id) VALUES ('join', NEW.program, NEW.cohort, NEW.user_id);
END;
CREATE TRIGGER member_left AFTER DELETE ON cohort_members BEGIN
    INSERT INTO member_changes (what, program, cohort, user_id) VALUES ('leave', OLD.program, OLD.cohort, OLD.user_id);
END;
CREATE TRIGGER member_renamed AFTER UPDATE OF email_norm ON cohort_members BEGIN
    INSERT INTO member_changes (what, program, cohort, user_id) VALUES ('reload', NEW.program, NEW.cohort, NEW.user_id);
END;
