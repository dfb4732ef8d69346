-- Subjects in the order in which they were last seen, without a look at their profiles.

DROP INDEX profiles_by_age;
CREATE INDEX profiles_by_age ON profiles (last_seen, subject);
