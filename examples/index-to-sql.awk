# The index.txt of `openssl ca` or Easy-RSA as rows of the table list_certs, for MySQL,
# MariaDB and SQLite alike:
#
#     awk -f index-to-sql.awk index.txt > rows.sql &&
#         sqlite3 -bail status.db < rows.sql        # or: mariadb certs < rows.sql
#
# All rows or none: a line that it does not understand is told, and ends it without the
# COMMIT. The column cert stays empty, as index.txt has no certificates.

BEGIN {
    FS = "\t"
    reasons["unspecified"] = "unspecified"
    reasons["keyCompromise"] = reasons["keyTime"] = "key_compromise"
    reasons["CACompromise"] = reasons["CAkeyTime"] = "ca_compromise"
    reasons["affiliationChanged"] = "affiliation_changed"
    reasons["superseded"] = "superseded"
    reasons["cessationOfOperation"] = "cessation_of_operation"
    reasons["certificateHold"] = reasons["holdInstruction"] = "certificate_hold"
    reasons["privilegeWithdrawn"] = "privilege_withdrawn"
    reasons["AACompromise"] = "aa_compromise"
    print "BEGIN;"
}

{
    sub(/\r+$/, "")
    gsub(/\\\t/, " ") # a tab within a field
}

/^#/ || $0 == "" { next }

/\r/ || NF != 6 { refuse("wanted six fields with a tab between") }

$4 !~ /^[0-9A-Fa-f]+$/ { refuse($4 " is no serial number") }

{
    serial = tolower($4)
    sub(/^0+/, "", serial)
    if (length(serial) % 2 || serial == "") serial = (serial == "" ? "00" : "0") serial
    if (serial in lines) refuse("serial number " $4 " stands on line " lines[serial] " too")
    lines[serial] = NR
}

($1 == "V" || $1 == "E") && $3 == "" { row("'Valid', NULL, NULL"); next }

$1 == "R" {
    # TIME[,REASON[,MORE]]
    split($3, parts, ",")
    if ($3 !~ /,/) reason = "NULL"
    else if (parts[2] in reasons) reason = "'" reasons[parts[2]] "'"
    else refuse(parts[2] " is no reason")
    row("'Revoked', '" time(parts[1]) "', " reason)
    next
}

{ refuse("wanted V or E without the time of a revocation, or R with one") }

END {
    if (!refused) print "COMMIT;"
    exit refused
}

function row(said) {
    printf "INSERT INTO list_certs (cert_num, status, revocation_time, revocation_reason, cert)"
    printf " VALUES ('0x%s', %s, '');\n", serial, said
}

# YYMMDDHHMMSSZ, where 50 to 99 is 19YY, or YYYYMMDDHHMMSSZ.
function time(text) {
    if (text !~ /^[0-9]+Z$/ || (length(text) != 13 && length(text) != 15)) refuse(text " is no time")
    if (length(text) == 13) text = (substr(text, 1, 2) < 50 ? "20" : "19") text
    return substr(text, 1, 4) "-" substr(text, 5, 2) "-" substr(text, 7, 2) " " \
        substr(text, 9, 2) ":" substr(text, 11, 2) ":" substr(text, 13, 2)
}

function refuse(problem) {
    print FILENAME ":" NR ": " problem | "cat 1>&2"
    refused = 1
    exit
}
