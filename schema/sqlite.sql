-- The table that ocsp-fcgi reads, for SQLite: the columns of schema/mysql.sql.
--
--   sqlite3 certs.sqlite < schema/sqlite.sql
--
-- The responder opens the file read-only. In WAL mode SQLite also wants to
-- write beside it (-wal, -shm); in the default mode reading the file is enough.

CREATE TABLE IF NOT EXISTS "list_certs" (
  -- 0x and the serial number in hexadecimal.
  cert_num TEXT NOT NULL COLLATE NOCASE PRIMARY KEY
    CHECK (cert_num GLOB '0x?*' AND substr(cert_num, 3) NOT GLOB '*[^0-9a-fA-F]*'),
  -- UTC, YYYY-MM-DD HH:MM:SS.
  revocation_time TEXT
    CHECK (revocation_time IS strftime('%Y-%m-%d %H:%M:%S', revocation_time)),
  revocation_reason TEXT
    CHECK (revocation_reason IN ('unspecified', 'key_compromise', 'ca_compromise',
      'affiliation_changed', 'superseded', 'cessation_of_operation', 'certificate_hold',
      'privilege_withdrawn', 'aa_compromise')),
  -- PEM; no question of a client reads it, only `ocsp-fcgi cache warm` does where it
  -- chooses by dates.
  cert BLOB NOT NULL,
  status TEXT NOT NULL DEFAULT 'Valid' CHECK (status IN ('Valid', 'Revoked')),
  CHECK ((status = 'Revoked') = (revocation_time IS NOT NULL)),
  CHECK (status = 'Revoked' OR revocation_reason IS NULL)
);
