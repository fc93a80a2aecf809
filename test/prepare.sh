# prepare.sh
#	  Gets a machine ready to test syncext: packages, build, install.
#
# Sourced by test/run, test/demo and test/bench/run, which call prepare.  A
# machine with nothing but make will do where it is a Debian with apt and the
# caller is root or may use sudo.
#
#	  prepare			installs what is missing, builds, installs; sets PG_CONFIG
#	  private_server	makes PG_CONFIG one of a copy of the server
#
# Without PG_CONFIG it is Debian's PostgreSQL PGVERSION (15); with it, the server
# that it names, which is taken as it is.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PGVERSION=${PGVERSION:-15}

# What make told its own children is not for the ones that are started here.
unset MAKEFLAGS MFLAGS MAKELEVEL

say()
{
	printf '== %s\n' "$*"
}

die()
{
	printf '%s\n' "$*" >&2
	exit 1
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "only root can do this, and sudo is not there: $*"
	fi
}

# Prints those of the packages that are not installed.
missing_packages()
{
	local package

	for package in "$@"; do
		case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
			installed) ;;
			*) echo "$package" ;;
		esac
	done
}

# Keeps the server's package from making and starting a cluster: the tests have
# their own.  Until allow_main_cluster; a configuration that is there stays as
# it is.
MAIN_CLUSTER_CONF=/etc/postgresql-common/createcluster.d/syncext-test.conf
forbid_main_cluster()
{
	trap allow_main_cluster EXIT
	as_root mkdir -p "${MAIN_CLUSTER_CONF%/*}"
	echo 'create_main_cluster = false' | as_root tee "$MAIN_CLUSTER_CONF" >/dev/null
}

allow_main_cluster()
{
	trap - EXIT
	as_root rm -f "$MAIN_CLUSTER_CONF"
	as_root rmdir --ignore-fail-on-non-empty "${MAIN_CLUSTER_CONF%/*}"
}

# Installs the Debian packages that are missing.
install_packages()
{
	local wanted missing log rc=0

	command -v apt-get >/dev/null || return 0
	wanted=(make gcc libc6-dev perl libipc-run-perl)
	if [ -z "${PG_CONFIG:-}" ]; then
		wanted+=("postgresql-$PGVERSION" "postgresql-server-dev-$PGVERSION"
			"postgresql-$PGVERSION-cron")
	fi
	mapfile -t missing < <(missing_packages "${wanted[@]}")
	[ ${#missing[@]} -gt 0 ] || return 0

	say "installing ${missing[*]}"
	log=$(mktemp) || exit
	case " ${missing[*]} " in
		*" postgresql-$PGVERSION "*) forbid_main_cluster ;;
	esac
	as_root env DEBIAN_FRONTEND=noninteractive bash -c '
		apt-get -q update
		apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"' \
		bash "${missing[@]}" >"$log" 2>&1 || rc=$?
	if [ -e "$MAIN_CLUSTER_CONF" ]; then
		allow_main_cluster
	fi
	[ $rc -eq 0 ] || tail -n 30 "$log" >&2
	rm -f "$log"
	[ $rc -eq 0 ] || die "these packages could not be installed: ${missing[*]}"
}

# Installs PgBouncer, which one test needs, and which is skipped without it.  Its package
# would start a service.
POLICY=/usr/sbin/policy-rc.d
install_pooler()
{
	local made=

	command -v apt-get >/dev/null && ! PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null || return 0
	say "installing pgbouncer"
	if [ ! -e "$POLICY" ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null && as_root chmod +x "$POLICY" || return 0
		made=yes
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
		install --no-install-recommends pgbouncer >/dev/null 2>&1 ||
		say "it could not be installed: a test is skipped"
	[ -z "$made" ] || as_root rm -f "$POLICY"
}

# Installs what the clients of doc/keys.md need, which one test runs, and without which it
# skips them.
install_clients()
{
	local package

	command -v apt-get >/dev/null || return 0
	for package in $(missing_packages python3-psycopg node-pg); do
		say "installing $package"
		as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
			install --no-install-recommends "$package" >/dev/null 2>&1 ||
			say "it could not be installed: a part of a test is skipped"
	done
}

# Installs a package of Debian's that only a benchmark needs, %s in its name being
# the server's major version, unless the server has extension $2 already, or the
# program is there.  False if that can't be done.
install_peer()
{
	local package extension=${2:-} major

	major=$("$PG_CONFIG" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
	package=${1/\%s/$major}
	if ! peer_is_there "$package" "$extension" && command -v apt-get >/dev/null; then
		say "installing $package" >&2
		as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
			install --no-install-recommends "$package" >&2 || true
	fi
	peer_is_there "$package" "$extension"
}

peer_is_there()
{
	if [ "$2" ]; then
		[ -e "$("$PG_CONFIG" --sharedir)/extension/$2.control" ]
	else
		command -v "$1" >/dev/null
	fi
}

# Sets PG_CONFIG to an absolute name.
find_pg_config()
{
	local debian=/usr/lib/postgresql/$PGVERSION/bin/pg_config
	local wanted=${PG_CONFIG:-pg_config}

	if [ -z "${PG_CONFIG:-}" ] && [ -x "$debian" ]; then
		wanted=$debian
	fi
	PG_CONFIG=$(command -v "$wanted") ||
		die "there is no $wanted: install PostgreSQL and its development files, or set PG_CONFIG"
	[ -f "$("$PG_CONFIG" --pgxs)" ] ||
		die "$PG_CONFIG knows no server to build for: install the development files of $("$PG_CONFIG" --version)"
	export PG_CONFIG
}

# Is what was built in directory $1 what the server has?
is_installed()
{
	local dir=$1 file extensions

	extensions=$("$PG_CONFIG" --sharedir)/extension
	cmp -s "$dir/syncext.so" "$("$PG_CONFIG" --pkglibdir)/syncext.so" || return
	for file in "$dir"/syncext.control "$dir"/syncext--*.sql; do
		cmp -s "$file" "$extensions/${file##*/}" || return
	done
}

# Builds the tree at $1 and installs it into the server, unless it is there.
build_and_install()
{
	local dir=$1 target as=

	say "building for $("$PG_CONFIG" --version)"
	if [ -n "${CI:-}" ]; then
		export WERROR=yes
	fi
	make -s -C "$dir" -j "$(nproc)" all "PG_CONFIG=$PG_CONFIG" ||
		die "the build failed"
	if is_installed "$dir"; then
		return
	fi
	for target in "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)/extension"; do
		[ -w "$target" ] || as=as_root
	done
	say "installing into $("$PG_CONFIG" --pkglibdir)"
	# sudo passes no environment on.
	$as make -s -C "$dir" install "PG_CONFIG=$PG_CONFIG" \
		"WERROR=${WERROR:-}" "COPT=${COPT:-}" ||
		die "make install failed"
}

# Copies the server that PG_CONFIG names to directory $1 and sets PG_CONFIG to
# the copy's.  PostgreSQL finds its files relative to its programs, so each
# directory keeps its whole name below $1.
private_server()
{
	local dir=$1 source option
	local bindir=$("$PG_CONFIG" --bindir)

	for option in --bindir --sharedir --pkglibdir; do
		source=$("$PG_CONFIG" $option)
		mkdir -p "$dir$source"
		cp -a "$source/." "$dir$source/" || die "the server could not be copied"
	done
	for option in --includedir --includedir-server --libdir; do
		source=$("$PG_CONFIG" $option)
		if [ ! -e "$dir$source" ]; then
			mkdir -p "$(dirname "$dir$source")"
			ln -s "$source" "$dir$source"
		fi
	done
	PG_CONFIG=$dir$bindir/pg_config
	[ "$("$PG_CONFIG" --pkglibdir)" != "$(${PG_CONFIG#"$dir"} --pkglibdir)" ] ||
		die "this server can't be moved: its programs know only $("$PG_CONFIG" --pkglibdir)"
}

# Installs what is missing, builds, installs.
prepare()
{
	# A script started by one that has prepared already
	if [ -n "${SYNCEXT_PREPARED:-}" ]; then
		return
	fi
	install_packages
	case ${TESTS:-pooler} in
		*pooler*) install_pooler ;;
	esac
	find_pg_config
	build_and_install "$ROOT"
	export SYNCEXT_PREPARED=yes
}
