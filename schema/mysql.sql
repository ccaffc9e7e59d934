-- The table that ocsp-fcgi reads, for MySQL and MariaDB: as the earlier
-- responder has it, so a site that has the table needs nothing of this file.
--
--   mariadb certs < schema/mysql.sql
--
-- cert_num           0x and the serial number in hexadecimal: 0x0a1b, 0xa1b and
--                    0x00ff... (the octets of the DER INTEGER) are all found,
--                    in lower or upper case
-- revocation_time    UTC; NULL while the certificate is valid
-- revocation_reason  NULL while the certificate is valid
-- cert               the certificate as PEM; no question of a client reads it, only
--                    `ocsp-fcgi cache warm` does where it chooses by dates

CREATE TABLE `list_certs` (
  `cert_num` varchar(50) NOT NULL,
  `revocation_time` datetime DEFAULT NULL,
  `revocation_reason` enum('unspecified','key_compromise','ca_compromise','affiliation_changed',
    'superseded','cessation_of_operation','certificate_hold','privilege_withdrawn','aa_compromise')
    DEFAULT NULL,
  `cert` blob NOT NULL,
  `status` enum('Valid','Revoked') NOT NULL DEFAULT 'Valid',
  PRIMARY KEY (`cert_num`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- The responder's account. It may read this table and nothing else; put the
-- responder's address in place of localhost when it runs on another machine.
--
-- CREATE USER 'cert'@'localhost' IDENTIFIED BY 'a long password';
-- GRANT SELECT ON `certs`.`list_certs` TO 'cert'@'localhost';

-- To revoke:
--
-- UPDATE `list_certs` SET `status` = 'Revoked', `revocation_time` = UTC_TIMESTAMP(),
--   `revocation_reason` = 'key_compromise' WHERE `cert_num` = '0x0a1b';
