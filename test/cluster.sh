# cluster.sh
#	  A private PostgreSQL cluster in a temporary directory, for test/run,
#	  test/demo and test/bench/run, which source this file after prepare.sh.
#
# PG_CONFIG names the server.  The cluster belongs to user postgres where the
# caller is root, whom PostgreSQL refuses, else to the caller.
#
#	  cluster_start [line ...]	makes and starts it, with lines for postgresql.conf
#	  cluster_stop				stops and removes it; done on exit in any case
#	  as_pg command ...			runs a command as the cluster's user
#
# SERVER_ENV is an array of what else is in the server's environment, name=value.
# CLUSTER_DIR is the directory that goes away with the cluster: room for what
# as_pg must read or write.  PGHOST, PGPORT, PGUSER and PGDATABASE are exported,
# so that a plain psql finds the cluster.  A script that sets an EXIT trap of its
# own after cluster_start calls cluster_stop there.

CLUSTER_DIR=

# What goes before a command to run it as the cluster's user
AS_PG=(env)
if [ "$(id -u)" -eq 0 ]; then
	AS_PG=(setpriv --reuid=postgres --regid=postgres --init-groups
		env USER=postgres LOGNAME=postgres HOME=/)
fi

# Runs a command as the cluster's user, in the current directory.
as_pg()
{
	"${AS_PG[@]}" "$@"
}

# Prints a directory for temporary files that the cluster's user can reach and
# whose name leaves a Unix socket's 107 bytes room.
cluster_temp_parent()
{
	local dir=${TMPDIR:-/tmp}

	if [ ${#dir} -le 60 ] && as_pg test -x "$dir"; then
		echo "$dir"
	else
		echo /tmp
	fi
}

# Makes CLUSTER_DIR, owned by the cluster's user, gone when the script ends.
cluster_make_dir()
{
	if [ "$(id -u)" -eq 0 ] && ! getent passwd postgres >/dev/null; then
		echo "root can't run PostgreSQL, and there is no user postgres to do it" >&2
		return 1
	fi
	CLUSTER_DIR=$(mktemp -d "$(cluster_temp_parent)/syncext.XXXXXX") || return
	CLUSTER_DIR=$(realpath "$CLUSTER_DIR")
	AS_PG+=("HOME=$CLUSTER_DIR")
	# a second signal must not end this halfway
	trap 'trap "" INT TERM HUP; cluster_stop' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	if [ "$(id -u)" -eq 0 ]; then
		chown postgres: "$CLUSTER_DIR" || return
	fi
}

# Makes and starts the cluster; each argument is a line of postgresql.conf.
cluster_start()
{
	local bindir

	bindir=$("$PG_CONFIG" --bindir) || return
	if [ -z "$CLUSTER_DIR" ]; then
		cluster_make_dir || return
	fi
	export CLUSTER_DIR PGHOST=$CLUSTER_DIR PGPORT=5432 \
		PGUSER=postgres PGDATABASE=postgres
	unset PGHOSTADDR PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS \
		PGSSLMODE PGCLIENTENCODING PGDATESTYLE PGTZ PGDATA PGTARGETSESSIONATTRS
	(
		cd "$CLUSTER_DIR" &&
			as_pg "$bindir/initdb" --no-sync -A trust -U postgres \
				-E UTF8 --locale=C.UTF-8 -D data >initdb.log 2>&1
	) || {
		cat "$CLUSTER_DIR/initdb.log" >&2
		return 1
	}
	printf '%s\n' "listen_addresses = ''" \
		"unix_socket_directories = '$CLUSTER_DIR'" "port = $PGPORT" \
		"log_line_prefix = '%m [%p] %q%a '" "$@" \
		>>"$CLUSTER_DIR/data/postgresql.conf" || return
	(
		cd "$CLUSTER_DIR" &&
			as_pg ${SERVER_ENV[@]+"${SERVER_ENV[@]}"} \
			"$bindir/pg_ctl" -D data -l server.log -w -t 60 -s start
	) || {
		tail -n 30 "$CLUSTER_DIR/server.log" >&2
		return 1
	}
}

# Stops the server of a data directory by the pid that it left there.
cluster_stop_server()
{
	local data=$1 pid tries=0

	pid=$(head -n 1 "$data/postmaster.pid") || return
	# A server that was killed leaves the file, and its pid may be another's now.
	while [ "$(readlink "/proc/$pid/cwd")" = "$data" ]; do
		case $tries in
			0) kill -INT "$pid" || true ;;
			# A backend doesn't heed the fast shutdown.
			300) kill -QUIT "$pid" || true ;;
			400)
				echo "the server with pid $pid doesn't stop" >&2
				return 1
				;;
		esac
		tries=$((tries + 1))
		sleep 0.1
	done
}

# Stops the cluster, and whatever other servers tests started below its
# directory, and removes the directory.
cluster_stop()
{
	local file

	[ -n "$CLUSTER_DIR" ] || return 0
	while read -r file; do
		cluster_stop_server "${file%/*}" || return
	done < <(find "$CLUSTER_DIR" -name postmaster.pid 2>/dev/null)
	rm -rf "$CLUSTER_DIR"
	CLUSTER_DIR=
}
