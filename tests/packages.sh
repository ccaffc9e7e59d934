#!/bin/sh
# Sees to the packages that the demo or the tests need: `packages.sh demo`,
# `packages.sh tests`, `packages.sh hsm` for the tests of keys on a token,
# `packages.sh mysql` for those with MySQL, which `make mysql` unpacks,
# `packages.sh interop` for those with other people's clients,
# `packages.sh bench` for the measurements under load, and
# `packages.sh bench-cluster` for the measurements on several databases.
#
# Does nothing when all is there. Otherwise root on Debian gets them by apt-get,
# with no service started; everybody else gets a sentence that names them.

set -eu

# What is there when the package (the first word) is there.
demo_needs() {
    need gcc program cc
    need libc6-dev header stdio.h # only recommended by gcc
    need pkg-config program pkg-config
    need libssl-dev pkg-config --exists 'openssl >= 3'
    need openssl program openssl
}

tests_need() {
    demo_needs
    need make program make
    need curl program curl
    need shellcheck program shellcheck
    need nginx program nginx
    need apache2 program apache2
    need libapache2-mod-fcgid test -e /usr/lib/apache2/modules/mod_fcgid.so
    need mariadb-server program mariadbd
    need libfcgi-bin program cgi-fcgi
    need spawn-fcgi program spawn-fcgi
    need systemd program systemd-analyze
    need mawk program mawk
    need easy-rsa test -e /usr/share/easy-rsa/easyrsa
}

hsm_needs() {
    demo_needs
    need make program make
    need softhsm2 program softhsm2-util
    need pkcs11-provider has_provider
}

mysql_needs() {
    tests_need
    [ -n "${MYSQL_ROOT-}" ] || need mmdebstrap program mmdebstrap
}

interop_needs() {
    tests_need
    need gnutls-bin program ocsptool
    need gnutls-bin program gnutls-cli
    need botan program botan
    need libnss3-tools program ocspclnt
    need libnss3-tools program vfychain
    need strongswan-pki program pki
    need libstrongswan-standard-plugins test -e /usr/lib/ipsec/plugins/libstrongswan-openssl.so
    need libstrongswan-extra-plugins test -e /usr/lib/ipsec/plugins/libstrongswan-curl.so
    need stunnel4 program stunnel
    need golang-go program go
    need golang-golang-x-crypto-dev test -d /usr/share/gocode/src/golang.org/x/crypto/ocsp
    need default-jdk-headless program javac
    need libbcprov-java test -e /usr/share/java/bcprov.jar
    need libbcpkix-java test -e /usr/share/java/bcpkix.jar
    need python3-venv python3 -c 'import ensurepip, venv'
}

bench_needs() {
    tests_need
    need wrk program wrk
    need libfcgi-dev header fcgiapp.h
    need libmariadb-dev header mariadb/mysql.h
}

bench_cluster_needs() {
    demo_needs
    need make program make
    need nginx program nginx
    need mariadb-server program mariadbd
    need galera-4 test -e /usr/lib/galera/libgalera_smm.so
    need rsync program rsync
    need lsof program lsof
    need iproute2 program ss
}

main() {
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # not in everybody's on Debian
    missing=''
    case ${1-} in
        demo) demo_needs ;;
        tests) tests_need ;;
        hsm) hsm_needs ;;
        mysql) mysql_needs ;;
        interop) interop_needs ;;
        bench) bench_needs ;;
        bench-cluster) bench_cluster_needs ;;
        *) fail 'usage: packages.sh demo | tests | hsm | mysql | interop | bench | bench-cluster' ;;
    esac
    [ -n "$missing" ] || exit 0
    echo "$0: missing:$missing" >&2
    if ! command -v apt-get >/dev/null; then
        fail "install these (Debian's names) by your system's means, and try again"
    elif [ "$(id -u)" -ne 0 ]; then
        fail "install them with: sudo $0 $1
(that is, without starting a service: apt-get install --no-install-recommends$missing)"
    fi
    # shellcheck disable=SC2086  # one word for each package
    install_all $missing
}

# need PACKAGE TEST...: notes the package unless the test holds
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 && return
    case "$missing " in
        *" $package "*) ;; # several things of one package
        *) missing="$missing $package" ;;
    esac
}

program() {
    command -v "$1"
}

header() {
    echo "#include <$1>" | cc -E -
}

has_provider() {
    folder=$(openssl version -m | cut -d '"' -f 2)
    test -e "$folder/pkcs11.so"
}

install_all() {
    for_now=''
    # shellcheck disable=SC2086  # one word for each file
    trap 'rm -f $for_now' EXIT
    trap 'exit 1' HUP INT TERM
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        # Debian asks this file whether a package may start its service (invoke-rc.d(8)).
        for_now=$policy
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    fi
    apt-get update
    case " $* " in
        *' pkcs11-provider '*) add_backports ;;
    esac
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
}

# Debian 12 has pkcs11-provider among its backports only; apt takes from there what it
# finds nowhere else.
add_backports() {
    if ! apt-cache show pkcs11-provider >/dev/null 2>&1 && grep -q bookworm /etc/os-release; then
        backports=/etc/apt/sources.list.d/ocsp-fcgi-tests.list
        for_now="$for_now $backports"
        keys=/usr/share/keyrings/debian-archive-keyring.gpg
        echo "deb [signed-by=$keys] http://deb.debian.org/debian bookworm-backports main" \
            >$backports
        apt-get update
    fi
}

fail() {
    echo "$1" >&2
    exit 1
}

main "$@"
