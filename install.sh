#!/bin/sh
# Installs ocsp-fcgi: binary, user, directories, configuration, systemd units.
#
# Safe to run twice, and the way to upgrade: the configuration is never
# overwritten, and each file is replaced whole, by rename.

set -eu
umask 022
unset CDPATH # or `cd` may lead to another checkout, and prints it
name=ocsp-fcgi
etc=/etc/$name
# Where the files of examples/ are copied to by hand, and a link to one.
web_server_files="/etc/nginx/conf.d/$name.conf /etc/apache2/sites-available/$name.conf
/etc/apache2/sites-enabled/$name.conf"

usage() {
    cat <<'END'
usage: ./install.sh [OPTION]...

Installs ocsp-fcgi from this checkout, or upgrades it. Nothing is started.

  --binary FILE     take this binary; default: cargo build --release --locked
  --prefix DIR      where bin/ and share/ are (default /usr/local)
  --web-group NAME  the web server's group, which may connect to the socket
                    (default: the one installed before, or else the first that
                    exists of www-data, nginx, apache, http)
  --root DIR        put everything below DIR, as packagers need it: no user is
                    made, no owner is set, systemd is not told
  --dry-run         say what would be done, change nothing
  --uninstall       remove all but the configuration, the database and the user
  --help            this text
END
}

main() {
    action=install binary='' prefix=/usr/local root='' web_group='' dry=no temporary=''
    here=$(cd "$(dirname "$0")" && pwd)
    parse "$@"
    trap 'rm -f "$temporary"' EXIT
    trap 'exit 1' HUP INT TERM
    if [ -z "$root" ] && [ "$dry" = no ] && [ "$(id -u)" -ne 0 ]; then
        fail 'needs root: use sudo, or --dry-run to see what it would do'
    fi
    doc=$prefix/share/doc/$name
    case $prefix in
        /usr) units=/usr/lib/systemd/system ;;
        *) units=/etc/systemd/system ;;
    esac
    "$action"
}

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
            --binary | --prefix | --web-group | --root)
                [ $# -ge 2 ] || fail "$1 needs a value; see --help"
                [ -n "$2" ] || fail "$1 is empty; see --help"
                ;;
        esac
        case $1 in
            --binary) binary=$2 && shift ;;
            --prefix) prefix=${2%/} && shift ;;
            --web-group) web_group=$2 && shift ;;
            --root) root=${2%/} && shift ;;
            --dry-run) dry=yes ;;
            --uninstall) action=uninstall ;;
            --help) usage && exit 0 ;;
            *) fail "unknown option $1; see --help" ;;
        esac
        shift
    done
    # Both are written into the units, where these have no meaning of their own.
    case $prefix in
        /*[!A-Za-z0-9._/+-]* | [!/]* | '') fail "--prefix $prefix: wanted an absolute path of plain characters" ;;
    esac
    case $web_group in
        *[!A-Za-z0-9._-]* | -*) fail "--web-group $web_group: not a group name" ;;
    esac
    case $root in
        '' | /*) ;;
        *) root=$PWD/$root ;;
    esac
}

install() {
    choose_web_group
    choose_binary
    [ -f "$here/config.toml.example" ] || fail "$here/config.toml.example is missing: not a checkout"
    note "installing ocsp-fcgi${root:+ below $root}"
    make_user
    put 0755 root:root "$prefix/bin/$name" "$binary"

    directory 0750 "root:$name" "$etc"
    put 0640 "root:$name" "$etc/config.toml.example" "$here/config.toml.example"
    fresh=no
    if is_there "$etc/config.toml"; then
        did "keep      $etc/config.toml"
    else
        fresh=yes
        put 0640 "root:$name" "$etc/config.toml" "$here/config.toml.example"
    fi
    directory 0700 "$name:$name" /var/cache/$name
    directory 0750 "$name:$name" /var/lib/$name

    install_units
    for file in "$here"/examples/*.conf "$here"/schema/*.sql; do
        [ ! -f "$file" ] || put 0644 root:root "$doc/${file##*/}" "$file"
    done
    for file in "$here"/man/*.[1-8]; do
        [ ! -f "$file" ] || put 0644 root:root "$prefix/share/man/man${file##*.}/${file##*/}" "$file"
    done
    next_steps
}

uninstall() {
    # Where it was put, whatever --prefix says now.
    for place in /usr/lib/systemd/system /etc/systemd/system; do
        [ -f "$root$place/ocsp-fcgi.service" ] || continue
        units=$place
        found=$(sed -n "s|^ExecStart=\(/.*\)/bin/$name .*|\1|p" "$root$place/ocsp-fcgi.service")
        prefix=${found:-$prefix}
    done
    note "removing ocsp-fcgi${root:+ below $root}"
    if systemd_runs && [ -f "$units/ocsp-fcgi.service" ]; then
        run 'stop and disable ocsp-fcgi.socket, ocsp-fcgi.service' \
            systemctl --quiet disable --now ocsp-fcgi.socket ocsp-fcgi.service || :
    fi
    remove "$units/ocsp-fcgi.socket" "$units/ocsp-fcgi.service" "$prefix/bin/$name"
    for file in "$here"/man/*.[1-8]; do
        remove "$prefix/share/man/man${file##*.}/${file##*/}"
    done
    remove "$prefix/share/doc/$name" /var/cache/$name
    if systemd_runs; then
        run 'systemctl daemon-reload' systemctl daemon-reload
    fi
    note "kept: $etc (configuration), /var/lib/$name (database), the user and group $name"
    # The group stays, and so does its name, as long as somebody is in it.
    members=$(group $name | cut -d: -f4 | tr , ' ' || :)
    leave=''
    for member in $members; do
        leave="$leave; gpasswd -d $member $name"
    done
    note "to remove these too: rm -r '$root$etc' '$root/var/lib/$name'$leave; userdel $name"
    for changes in "$units/ocsp-fcgi.service.d" "$units/ocsp-fcgi.socket.d"; do
        [ ! -d "$root$changes" ] || note "kept: $changes (changes by systemctl edit)"
    done
    for file in /etc/systemd/system/$name-warm.service /etc/systemd/system/$name-warm.timer /etc/cron.d/$name; do
        is_there "$file" && note "kept: $file (still to sign answers ahead)"
    done
    for file in $web_server_files; do
        is_there "$file" && note "kept: $file (the web server still asks the responder)"
    done
    for folder in /var/cache/$name-apache /run/nginx-$name; do
        is_there "$folder" && note "kept: $folder (answers kept by the web server)"
    done
    return 0
}

install_units() {
    # In variables first, so that no unit is written when sed fails.
    service=$(sed "s|/usr/local/bin/|$prefix/bin/|" "$here/packaging/systemd/ocsp-fcgi.service")
    socket=$(sed "s|^SocketGroup=.*|SocketGroup=$web_group|" "$here/packaging/systemd/ocsp-fcgi.socket")
    was=$(cat "$root$units/ocsp-fcgi.socket" 2>/dev/null || :)
    socket_restart=no
    [ -z "$was" ] || [ "$was" = "$socket" ] || socket_restart=yes
    put 0644 root:root "$units/ocsp-fcgi.service" - <<END
$service
END
    put 0644 root:root "$units/ocsp-fcgi.socket" - <<END
$socket
END
    if systemd_runs; then
        run 'systemctl daemon-reload' systemctl daemon-reload
    fi
}

choose_web_group() {
    if [ -z "$web_group" ] && [ -f "$root$units/ocsp-fcgi.socket" ]; then
        web_group=$(sed -n 's/^SocketGroup=//p' "$root$units/ocsp-fcgi.socket")
    fi
    for candidate in ${web_group:-www-data nginx apache http}; do
        if group "$candidate" >/dev/null; then
            web_group=$candidate
            return
        fi
    done
    [ -z "$web_group" ] || [ -n "$root" ] || fail "there is no group $web_group; see --web-group in --help"
    [ -n "$root" ] || fail 'no group of a web server found: install the web server first, or name the group with --web-group'
    web_group=${web_group:-www-data}
}

# group NAME: its line
group() {
    if [ -n "$root" ]; then
        grep -s "^$1:" "$root/etc/group"
    else
        getent group "$1"
    fi
}

choose_binary() {
    if [ -n "$binary" ]; then
        [ -f "$binary" ] || fail "--binary $binary: no such file"
        [ -s "$binary" ] || fail "--binary $binary: is empty"
        return
    fi
    binary=$here/target/release/$name
    did "build     $binary"
    [ "$dry" = no ] || return 0
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$here/Cargo.toml")
    found=$(as_builder 'cargo --version' 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p' || :)
    if [ -z "$found" ] || [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        fail "cargo is ${found:-not there}, wanted $wanted or newer: get it from https://rustup.rs, or build elsewhere and give the result with --binary"
    fi
    "$here/tests/packages.sh" demo
    as_builder 'cargo build --release --locked --target-dir target'
}

# as_builder COMMAND: as the owner of the checkout, with the PATH where rustup put cargo
as_builder() {
    if [ "$(id -u)" -eq 0 ] && [ "${SUDO_USER:-root}" != root ]; then
        # shellcheck disable=SC2016  # $1 and $2 are for the inner shell
        sudo -H -u "$SUDO_USER" sh -lc 'cd "$1" && $2' sh "$here" "$1"
    else
        # shellcheck disable=SC2086  # a word for each
        (cd "$here" && $1)
    fi
}

make_user() {
    [ -z "$root" ] || return 0
    getent group $name >/dev/null || run "group     $name" groupadd --system $name
    if ! getent passwd $name >/dev/null; then
        nologin=$(command -v nologin || echo /usr/sbin/nologin)
        run "user      $name (no home, no shell)" useradd --system --gid $name --no-create-home \
            --home-dir /nonexistent --shell "$nologin" --comment 'OCSP responder' $name
    fi
}

next_steps() {
    echo
    if [ -n "$root" ]; then
        note "left to you: the user and group $name; $etc of root:$name, /var/cache/$name and /var/lib/$name of $name:$name"
    elif [ "$fresh" = yes ]; then
        cat <<END
What to do next:
  1. edit $etc/config.toml
     (the key file: chown root:$name, chmod 0640)
  2. runuser -u $name -- $prefix/bin/$name check --config $etc/config.toml
  3. systemctl enable --now ocsp-fcgi.socket ocsp-fcgi.service
  4. add $doc/nginx.conf or apache.conf
     to the web server (group $web_group), which finds the responder
     at /run/ocsp-fcgi/ocsp-fcgi.sock
END
    else
        cat <<END
Upgraded. What to do next:
  1. see what is new: diff $etc/config.toml $etc/config.toml.example
  2. runuser -u $name -- $prefix/bin/$name check --config $etc/config.toml
$(restarts)
     where Apache starts the program itself (mod_fcgid): the same check as its user
     (www-data), then systemctl reload apache2
END
    fi
    for pair in nginx/conf.d/$name.conf=nginx.conf apache2/sites-available/$name.conf=apache.conf; do
        copy=/etc/${pair%=*}
        is_there "$copy" && echo "  see what is new for the web server: diff $copy $doc/${pair#*=}"
    done
    return 0
}

restarts() {
    if [ "$socket_restart" = yes ]; then
        echo "  3. systemctl restart ocsp-fcgi.socket ocsp-fcgi.service   (the socket has changed)"
    else
        echo "  3. systemctl restart ocsp-fcgi.service   (connections wait meanwhile);"
    fi
}

# put MODE OWNER:GROUP PATH SOURCE: SOURCE (- for standard input) becomes the
# file PATH, all of it or not at all
put() {
    did "write     $3 ($1$(owner "$2"))"
    [ "$dry" = no ] || return 0
    mkdir -p "$(dirname "$root$3")"
    [ ! -d "$root$3" ] || fail "$root$3 is a directory, wanted a file"
    temporary=$(mktemp "$(dirname "$root$3")/.$name.XXXXXX")
    cat -- "$4" >"$temporary"
    give "$2" "$temporary"
    chmod "$1" "$temporary"
    sync "$temporary" 2>/dev/null || :
    mv -f "$temporary" "$root$3"
    temporary=''
}

# directory MODE OWNER:GROUP PATH: one that is there keeps its own, as others may
# have been given access to it
directory() {
    if [ -d "$root$3" ]; then
        did "keep      $3"
        return
    fi
    did "directory $3 ($1$(owner "$2"))"
    [ "$dry" = no ] || return 0
    mkdir -p "$root$3"
    chmod "$1" "$root$3"
    give "$2" "$root$3"
}

# remove PATH...: those that exist
remove() {
    for path in "$@"; do
        if is_there "$path"; then
            run "remove    $path" rm -rf "$root$path"
        fi
    done
}

is_there() {
    [ -e "$root$1" ] || [ -L "$root$1" ]
}

give() {
    [ -n "$root" ] || chown "$1" "$2"
}

owner() {
    [ -n "$root" ] || printf ' %s' "$1"
}

# run WORDS COMMAND...: says WORDS, and does it unless this is a dry run
run() {
    did "$1"
    shift
    [ "$dry" = yes ] || "$@"
}

did() {
    if [ "$dry" = yes ]; then
        echo "  would $1"
    else
        echo "  $1"
    fi
}

systemd_runs() {
    [ -z "$root" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null
}

note() {
    echo "$1"
}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

main "$@"
