# link_sides.sh
#	  The sides that test/bench/link compares, each a hub and two spokes, s1 and s2,
#	  with a table customer: how a side is set up, and how it is asked.
#
# Sourced by test/bench/link, after test/cluster.sh.  A node is a cluster of its
# own below CLUSTER_DIR, so that cluster_stop stops it by its pid.  It is named
# side_hub, side_s1 or side_s2.  Side is one of
#
#	  ours		syncext: the spokes linked to the hub, which has no table but its
#				canonical records
#	  pglogical	each node subscribes to the two others (its provider forwards
#				everything or nothing, so that a star of three would echo);
#				last_update_wins
#	  bucardo	one sync with three sources, as it is installed
#	  tuned		the same, tuned: see tuned_setup
#
# For each side there are side_setup, and side_hub_rows: a query for the rows
# (id, name, email, phone, city, n) as the hub has them.

declare -A PORT
LAST_PORT=6000
BUCARDOS=()

# psql at a node
on() {	# node [options]
	local port=${PORT[$1]}
	shift
	"$BIN/psql" -XqAt -v ON_ERROR_STOP=1 -p "$port" -d bench "$@"
}

dsn() { echo "host=$CLUSTER_DIR port=${PORT[$1]} dbname=bench user=postgres"; }

# Make and start a node; the further arguments are lines of postgresql.conf.
node_start() {	# node [line ...]
	local node=$1
	shift
	if [ ! -d "$CLUSTER_DIR/template" ]; then
		(cd "$CLUSTER_DIR" && as_pg "$BIN/initdb" --no-sync -A trust -U postgres -E UTF8 \
			--locale=C.UTF-8 -D template >initdb.log 2>&1) || { cat "$CLUSTER_DIR/initdb.log" >&2; return 1; }
	fi
	LAST_PORT=$((LAST_PORT + 1))
	PORT[$node]=$LAST_PORT
	as_pg cp -a "$CLUSTER_DIR/template" "$CLUSTER_DIR/$node"
	# A server that has run for long recycles its WAL files: don't zero new ones.
	# Autovacuum is on: two of the sides live on tables that fill and empty.
	printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$CLUSTER_DIR'" \
		"port = $LAST_PORT" "log_line_prefix = '%m [%p] %q%a '" 'shared_buffers = 256MB' \
		'max_wal_size = 16GB' 'checkpoint_timeout = 1h' 'jit = off' 'wal_init_zero = off' \
		'max_worker_processes = 24' 'synchronous_commit = off' 'track_commit_timestamp = on' \
		"$@" >>"$CLUSTER_DIR/$node/postgresql.conf"
	(cd "$CLUSTER_DIR" && as_pg "$BIN/pg_ctl" -D "$node" -l "$node.log" -w -t 60 -s start) ||
		{ tail -n 30 "$CLUSTER_DIR/$node.log" >&2; return 1; }
	"$BIN/psql" -Xq -p "$LAST_PORT" -d postgres -c 'CREATE DATABASE bench'
	on "$node" -f link.sql
}

# The three nodes of a side, with the same customers in the nodes' tables
nodes_start() {	# side filled-nodes [line ...]
	local side=$1 filled=$2 node
	shift 2
	for node in hub s1 s2; do
		node_start "${side}_$node" "$@" || return
	done
	for node in $filled; do
		on "${side}_$node" -c "INSERT INTO customer SELECT * FROM bench.customers($RECORDS)" \
			-c 'VACUUM ANALYZE customer'
	done
}

# Wait until a query at a node says t.
await() {	# node seconds query
	local node=$1 tries=$(($2 * 10)) answer
	while answer=$(on "$node" -c "$3") || return; [ "$answer" != t ]; do
		tries=$((tries - 1))
		if [ $tries -le 0 ]; then
			echo "# $node: not so after $2 seconds: $3"
			tail -n 20 "$CLUSTER_DIR/$node.log" >&2
			return 1
		fi
		sleep 0.1
	done
}

# ---------- syncext ----------

ours_setup() {
	local node
	nodes_start ours s1 || return
	PGOPTIONS='-c client_min_messages=warning' on ours_hub -o /dev/null -c 'DROP TABLE customer CASCADE' -c 'CREATE EXTENSION syncext' \
		-c "SELECT sync_add_entity('customer'), sync_add_source('S1', 1), sync_add_source('S2', 2)"
	on ours_hub -c "CREATE OR REPLACE FUNCTION bench.is_here(id bigint, mark bigint) RETURNS boolean LANGUAGE sql AS \$\$
		SELECT EXISTS (SELECT FROM syncext.canonical c
			WHERE c.entity = 'customer' AND c.external_id = is_here.id::text AND c.fields->>'n' = mark::text) \$\$"
	for node in s1 s2; do
		on ours_$node -o /dev/null <<-SQL
		CREATE EXTENSION syncext;
		CREATE EXTENSION dblink;
		CREATE SERVER hub FOREIGN DATA WRAPPER dblink_fdw
			OPTIONS (host '$CLUSTER_DIR', port '${PORT[ours_hub]}', dbname 'bench');
		CREATE USER MAPPING FOR postgres SERVER hub OPTIONS (user 'postgres');
		SELECT sync_add_entity('customer'), sync_add_source('${node^^}');
		SELECT sync_link('hub', 'hub', '${node^^}');
		SELECT sync_attach('customer', '${node^^}', 'customer');
		SQL
	done
	on ours_s1 -o /dev/null -c "CALL sync_load('customer')"
	await ours_hub 120 "SELECT count(*) = $RECORDS FROM syncext.canonical"
	await ours_s2 120 "SELECT count(*) = $RECORDS FROM customer"
	for node in hub s1 s2; do on ours_$node -c 'VACUUM ANALYZE'; done
}

ours_hub_rows() {
	echo "SELECT external_id::bigint AS id, fields->>'name' AS name, fields->>'email' AS email,
		fields->>'phone' AS phone, fields->>'city' AS city, (fields->>'n')::bigint AS n
		FROM syncext.canonical WHERE entity = 'customer' AND NOT deleted"
}

# The values that the hub's logs say were lost: by the change itself, whose field
# lost, by a later one of the other spoke that won the field from it, or by a
# conflict that waits for a person.
ours_told() {
	on ours_hub <<-'SQL'
	CREATE TEMP TABLE said AS
		SELECT l.seq, l.external_id, l.source, f.key AS field, f.value,
			l.resolution = 'PRIORITY_WIN' AND NOT lost AS won, lost
		FROM syncext.change_log l, LATERAL jsonb_each_text(l.fields) f,
			LATERAL (SELECT coalesce(l.detail->'lost' ?| ARRAY['*', f.key], false) AS lost) d
		WHERE f.value ~ '^s[12]\.[0-9]+-';
	CREATE INDEX ON said (external_id, field);
	ANALYZE said;
	SELECT s.value FROM said s
	WHERE s.lost OR EXISTS (SELECT FROM said o WHERE o.external_id = s.external_id AND o.field = s.field
		AND o.source <> s.source AND o.seq > s.seq AND o.won)
	UNION SELECT f.value FROM syncext.conflict_log l, LATERAL (SELECT value FROM jsonb_each_text(l.incoming)
		UNION SELECT value FROM jsonb_each_text(l.canonical)) f;
	SQL
}

# ---------- pglogical ----------

pglogical_setup() {
	local node other trust=''
	# Newer minor versions decode with the plugins only that they are told to trust.
	if "$BIN/postgres" --describe-config | grep '^output_plugin_libraries' >/dev/null; then
		trust="output_plugin_libraries = 'pglogical_output'"
	fi
	nodes_start pglogical 'hub s1 s2' 'wal_level = logical' "shared_preload_libraries = 'pglogical'" \
		'max_replication_slots = 24' 'max_wal_senders = 24' \
		"pglogical.conflict_resolution = 'last_update_wins'" "$trust" || return
	for node in hub s1 s2; do
		on pglogical_$node -o /dev/null <<-SQL
		CREATE EXTENSION pglogical;
		SELECT pglogical.create_node('$node', '$(dsn pglogical_$node)');
		SELECT pglogical.replication_set_add_table('default', 'customer');
		SQL
	done
	for node in hub s1 s2; do
		for other in hub s1 s2; do
			[ $node != $other ] || continue
			on pglogical_$node -o /dev/null -c "SELECT pglogical.create_subscription('${node}_from_$other',
				'$(dsn pglogical_$other)', '{default}', false, false, '{}')"
		done
	done
	for node in hub s1 s2; do
		await pglogical_$node 60 "SELECT count(*) = 2 AND bool_and(status = 'replicating')
			FROM pglogical.show_subscription_status()"
	done
}

pglogical_hub_rows() { echo 'SELECT * FROM customer'; }

# ---------- Bucardo ----------

# The command that speaks to a side's Bucardo
bucardo_on() {	# side argument ...
	local side=$1
	shift
	(cd "$CLUSTER_DIR" && as_pg timeout 60 bucardo --no-bucardorc --batch --dbhost="$CLUSTER_DIR" \
		--dbport="${PORT[${side}_hub]}" --dbname=bucardo --dbuser=bucardo \
		--log-destination="$CLUSTER_DIR/$side" "$@")
}

bucardo_install() {	# side
	local side=$1 node dir=$CLUSTER_DIR/$1
	as_pg mkdir "$dir"
	on "${side}_hub" -c "CREATE DATABASE bucardo"
	for node in hub s1 s2; do
		on "${side}_$node" -c 'CREATE ROLE bucardo SUPERUSER LOGIN'
	done
	(cd "$CLUSTER_DIR" && PGOPTIONS='-c client_min_messages=warning' as_pg "$BIN/psql" -Xq \
		-p "${PORT[${side}_hub]}" -d postgres -U bucardo -f /usr/share/bucardo/bucardo.schema) >"$CLUSTER_DIR/$side.install" 2>&1 || {
		tail "$CLUSTER_DIR/$side.install" >&2
		return 1
	}
	# Its own command and a trigger would write the names in lower case.
	"$BIN/psql" -Xq -p "${PORT[${side}_hub]}" -d bucardo <<-SQL
	ALTER TABLE bucardo.bucardo_config DISABLE TRIGGER USER;
	UPDATE bucardo.bucardo_config SET setting = '$dir' WHERE name = 'piddir';
	UPDATE bucardo.bucardo_config SET setting = '$dir/' || name WHERE name IN ('reason_file', 'warning_file', 'log_conflict_file');
	ALTER TABLE bucardo.bucardo_config ENABLE TRIGGER USER;
	SQL
	for node in hub s1 s2; do
		bucardo_on "$side" add database $node dbname=bench dbhost="$CLUSTER_DIR" \
			dbport="${PORT[${side}_$node]}" dbuser=bucardo
	done
	bucardo_on "$side" add table public.customer db=hub relgroup=customers
	bucardo_on "$side" add sync customers relgroup=customers dbs=hub:source,s1:source,s2:source \
		conflict_strategy=bucardo_latest
}

bucardo_setup() {
	nodes_start bucardo 'hub s1 s2' || return
	bucardo_install bucardo >/dev/null || return
	bucardo_start bucardo
}

bucardo_hub_rows() { echo 'SELECT * FROM customer'; }

# What slows Bucardo down as installed is a join of two tables, of changes and of
# who has got them, that the planner takes for empty: once to count and once to
# read.  Tuned, it doesn't count, and the planner knows these tables as they are
# when they are full.  It isn't told of each change (a trigger that notifies a
# statement) but looks once a second, and does without SERIALIZABLE.
tuned_setup() {
	local node
	nodes_start tuned 'hub s1 s2' 'work_mem = 64MB' || return
	bucardo_install tuned >/dev/null || return
	"$BIN/psql" -Xq -p "${PORT[tuned_hub]}" -d bucardo <<-'SQL'
	UPDATE bucardo.bucardo_config SET setting = 'repeatable read' WHERE name = 'isolation_level';
	UPDATE bucardo.bucardo_config SET setting = '0' WHERE name = 'quick_delta_check';
	UPDATE bucardo.bucardo_config SET setting = '0.05' WHERE name IN ('mcp_loop_sleep', 'ctl_sleep',
		'kid_sleep', 'kid_nodeltarows_sleep', 'kid_serial_sleep');
	SQL
	bucardo_on tuned update sync customers autokick=0 checktime=1 >/dev/null 2>&1
	bucardo_start tuned
	for node in hub s1 s2; do
		on tuned_$node <<-'SQL'
		ALTER TABLE bucardo.delta_public_customer SET (autovacuum_enabled = off);
		ALTER TABLE bucardo.track_public_customer SET (autovacuum_enabled = off);
		SQL
	done
	on tuned_s1 -c "UPDATE customer SET n = -1"
	await tuned_s2 60 "SELECT count(*) = $RECORDS FROM customer WHERE n = -1" || return
	on tuned_s1 -c 'ANALYZE bucardo.delta_public_customer, bucardo.track_public_customer'
}

tuned_hub_rows() { echo 'SELECT * FROM customer'; }

bucardo_start() {	# side
	# Its processes end with its file of the master's pid; should we be stopped
	# before, bucardo_stop is part of the way out.
	BUCARDOS+=("$1")
	bucardo_on "$1" start >/dev/null
	await "$1_hub" 60 "SELECT count(*) >= 1 FROM pg_stat_activity WHERE application_name LIKE '%KID%'"
}

# A side that has done its part is no load for the others.
bucardo_pause() {	# side
	bucardo_on "$1" stop >/dev/null
}

bucardo_stop() {
	local side
	for side in "${BUCARDOS[@]}"; do bucardo_on "$side" stop >/dev/null || true; done
	BUCARDOS=()
}
