# 065_link_setup.pl
#	  Making links, and what is attached to them: before, while and after they
#	  connect, detached and attached again, ended and made anew; by roles of all kinds.

use strict;
use warnings;

use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', <<'END');
fsync = off
max_worker_processes = 16
syncext.retry_base = 100
syncext.retry_max = 1s
syncext.link_interval = 1s
END
$node->start;

sub sql
{
	my ($name, $sql) = @_;
	return $node->safe_psql($name, $sql);
}

sub said
{
	my ($name, $sql) = @_;
	my ($rc, $out, $err) = $node->psql($name, $sql);
	return $rc == 0 ? "no error: $out" : $err;
}

sub exchange
{
	my ($name) = @_;
	return decode_json(sql($name, "CALL sync_exchange('up')"));
}

# Exchange until nothing moves any more, by hand: the worker rests.
sub settle
{
	my ($name, $hub) = @_;
	my $quiet = 0;

	for (1 .. 100)
	{
		my $r = exchange($name);
		my $n = 0;
		$n += $r->{$_} for qw(pushed pulled failed rejected);
		# what was handed back comes again in a moment
		$n += sql($hub // 'hub', 'SELECT count(*) FROM syncext.pending WHERE next_attempt IS NOT NULL');
		$quiet = $n == 0 ? $quiet + 1 : 0;
		return if $quiet == 2;
		select(undef, undef, undef, 0.05) if $n > 0;
	}
	fail('everything comes to rest');
}

sub arrives
{
	my ($name, $query, $what) = @_;
	ok($node->poll_query_until($name, $query), $what);
}

my $office = q(CREATE FUNCTION office(entity text, id text, fields jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('source', 'Office', 'entity', $1, 'externalId', $2,
		'base', coalesce((SELECT row_version FROM syncext.canonical c WHERE c.entity = $1 AND external_id = $2), 0))
		|| CASE WHEN $3 IS NULL THEN '{"deleted": true}' ELSE jsonb_build_object('fields', $3) END)->>'resolution' $$;);

sub make_hub
{
	my ($name, @sources) = @_;
	sql('postgres', "CREATE DATABASE $name");
	sql($name, "CREATE EXTENSION syncext; SELECT sync_add_source(s) FROM unnest('{Office,@{[ join ',', @sources ]}}'::text[]) s;
		SELECT sync_add_entity('customer'), sync_add_entity('part'); $office");
}

# A database with all that a link needs, but the link.
sub make_spoke
{
	my ($name, $hub, $source, $options) = @_;
	my $server = "host '" . $node->host . "', port '" . $node->port . "', dbname '$hub'" . ($options // '');

	sql('postgres', "CREATE DATABASE $name");
	sql($name, "CREATE EXTENSION syncext; CREATE EXTENSION postgres_fdw;
		CREATE TABLE customer (id text PRIMARY KEY, name text, phone text, email text);
		CREATE TABLE part (id text PRIMARY KEY, name text);
		SELECT sync_add_source('$source'), sync_add_entity('customer'), sync_add_entity('part');
		CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw OPTIONS ($server);
		CREATE USER MAPPING FOR CURRENT_USER SERVER hub");
}

# A link whose worker rests: exchanges are made by hand.
sub make_link
{
	my ($name, $source, $more) = @_;
	sql($name, "BEGIN; SELECT sync_link('up', 'hub', '$source'" . ($more // '') . ");
		UPDATE syncext.link SET enabled = false; COMMIT");
}

# ---------- what is attached while the link connects ----------

make_hub('hub', qw(Slow Shop Region Till));
make_spoke('slow', 'hub', 'Slow', ", options '-c post_auth_delay=1'");
sql('slow', "SELECT sync_link('up', 'hub', 'Slow')");
arrives('slow', q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'syncext link' AND query = 'exchanging')),
	'the worker connects, which takes a second');
sql('slow', "SELECT sync_attach('customer', 'Slow', 'customer');
	INSERT INTO customer SELECT 'C' || n, 'c' || n FROM generate_series(1, 40) n");
arrives('hub', q(SELECT count(*) = 40 FROM syncext.canonical WHERE entity = 'customer'),
	'a table that is attached while the link connects: all that is written to it arrives');
is(sql('slow', 'SELECT relay FROM syncext.link'), 'f', 'a link is for tables unless it is said to be a relay');
sql('slow', "SELECT sync_unlink('up')");

# ---------- a link without a table ----------

make_spoke('shop', 'hub', 'Shop');
sql('hub', q(SELECT office('part', 'P1', '{"name": "bolt"}')));
make_link('shop', 'Shop');
my $r = exchange('shop');
is("$r->{pushed} $r->{pulled}", '0 0', 'without a table nothing is exchanged');
is(sql('shop', 'SELECT count(*) FROM syncext.canonical'), '0', '... and no record comes into this hub');
is(sql('shop', "SELECT hub_behind > 40 FROM syncext.link_status"), 't', '... but is known to wait');
sql('shop', "UPDATE syncext.link SET enabled = true");
arrives('shop', "SELECT state = 'no table' FROM syncext.link_status", '... which link_status says');
is(sql('shop', "SELECT severity, problem, hint FROM sync_check() WHERE object = 'link up'"),
	"info|has no table: nothing comes from its hub|SELECT sync_attach(…, 'Shop', …) attaches one. For this hub to be a spoke as a whole, SELECT sync_link('up', 'hub', 'Shop', relay => true).",
	'... and sync_check, with what to call');
sql('shop', "SELECT sync_attach('customer', 'Shop', 'customer')");
arrives('shop', 'SELECT count(*) = 40 FROM customer', 'with a table all there is comes, soon');
sql('shop', "SELECT sync_attach('part', 'Shop', 'part')");
arrives('shop', "SELECT name = 'bolt' FROM part", 'a second table gets what the link passed over while it was not there');
sql('shop', "UPDATE syncext.link SET enabled = false");
arrives('shop', q(SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'syncext link' AND datname = 'shop')), 'the worker rests');

# ---------- detached and attached again ----------

sql('shop', "UPDATE customer SET phone = '1'");
settle('shop');
sql('shop', "SELECT sync_detach('customer')");
sql('hub', q(SELECT office('customer', 'C1', '{"phone": "2"}'), office('customer', 'C2', NULL), office('customer', 'C41', '{"name": "c41"}')));
sql('shop', "UPDATE customer SET email = 'ax' WHERE id IN ('C1', 'C3'); DELETE FROM customer WHERE id = 'C4'; DELETE FROM customer WHERE id = 'C5';
	INSERT INTO customer VALUES ('C5', 'c5', '1')");
$r = exchange('shop');
is("$r->{pushed} $r->{failed}", '0 0', 'a detached table: the rest of the link goes on');
sql('shop', "SELECT sync_attach('customer', 'Shop', 'customer')");
settle('shop');
my $rows = sql('shop', q(SELECT id, name, phone, email FROM customer WHERE id IN ('C1', 'C2', 'C3', 'C4', 'C5', 'C41') ORDER BY id));
is($rows, "C1|c1|2|ax\nC3|c3|1|ax\nC4|c4|1|\nC41|c41||\nC5|c5|1|",
	'attached again it gets what came meanwhile, keeps what was edited, and misses no row that nobody removed there');
is(sql('hub', q(SELECT external_id, fields->>'name', fields->>'phone', fields->>'email' FROM syncext.canonical
	WHERE NOT deleted AND external_id IN ('C1', 'C2', 'C3', 'C4', 'C5', 'C41') ORDER BY 1)), $rows, '... and the hub has the same');
is(sql('hub', "SELECT count(*) FROM syncext.conflict_log") . sql('shop', 'SELECT count(*) FROM syncext.detached'), '00', '... without a conflict');

# An edit that had not been sent yet is based on what it was made on; and the table may be another one.
sql('shop', "UPDATE customer SET phone = '3' WHERE id = 'C6'; SELECT sync_detach('customer')");
sql('hub', q(SELECT office('customer', 'C6', '{"email": "bx"}')));
settle('shop');
is(sql('hub', q(SELECT fields->>'phone', fields->>'email' FROM syncext.canonical WHERE external_id = 'C6')), '3|bx', 'an edit of before is sent afterwards, as what it was');
sql('shop', "ALTER TABLE customer RENAME TO old; CREATE TABLE customer (LIKE old INCLUDING ALL); SELECT sync_attach('customer', 'Shop', 'customer')");
settle('shop');
is(sql('shop', 'SELECT count(*) FROM customer'), '40', 'another table in its place gets all there is');
sql('shop', "SELECT sync_unlink('up')");
is(sql('shop', 'SELECT (SELECT count(*) FROM syncext.replica) + (SELECT count(*) FROM syncext.detached)'), '0', 'nothing is kept of a link that was ended');

# ---------- relays ----------

make_spoke('region', 'hub', 'Region');
sql('region', "SELECT sync_add_source('Counter')");
like(said('region', "SELECT sync_link('up', 'hub', 'Region', NULL)"), qr/relay must not be null/, 'a link is a relay or not');
sql('region', "SELECT sync_attach('part', 'Region', 'part')");
like(said('region', "SELECT sync_link('up', 'hub', 'Region', relay => true)"),
	qr/a relay's source cannot have relations, as source "Region" has.*HINT:  Link without relay/s, 'a relay has no tables');
sql('region', "SELECT sync_detach('part')");
like(said('region', "SELECT sync_link('up', 'hub', 'Region', relay => true)"),
	qr/source "Region" may not be a relay, that says what other sources have said.*HINT:  At the hub: .*UPDATE syncext.source SET relay = true WHERE name = 'Region'/s,
	'a source is a relay only where the hub says so');
sql('hub', "UPDATE syncext.source SET relay = true WHERE name = 'Region'");
make_link('region', 'Region', ', true');
exchange('region');
sql('hub', "UPDATE syncext.source SET relay = false WHERE name = 'Region'");
like(said('region', "CALL sync_exchange('up')"), qr/source "Region" may not be a relay/, '... also on a connection that is open');
sql('hub', "UPDATE syncext.source SET relay = true WHERE name = 'Region'");
exchange('region');
is(sql('region', 'SELECT count(*) FROM syncext.canonical'), sql('hub', 'SELECT count(*) FROM syncext.canonical WHERE NOT deleted'), 'a relay gets what there is, into its records');
like(said('region', "SELECT sync_attach('customer', 'Region', 'customer')"),
	qr/no relation can be attached to source "Region": link "up" is a relay.*HINT:  Attach it to another source/s, 'no table is attached to its source');
sql('region', "SELECT sync_attach('customer', 'Counter', 'customer'); SELECT sync_deliver('Counter')");
is(sql('region', 'SELECT count(*) FROM customer'), '40', '... but to another one');
like(said('region', "SELECT sync_link('up', 'hub', 'Region', relay => false)"),
	qr/link "up" cannot become a link for tables any more.*HINT:  Make another/s, 'what has exchanged stays what it is');
like(said('region', "UPDATE syncext.link SET relay = false"),
	qr/whether link "up" is a relay cannot be written here.*HINT:  SELECT sync_link\('up', …, relay => false\)/s, '... by hand, too');
like(said('region', "SELECT sync_link('up', 'hub', 'Region', relay => true)"), qr/link "up" already exists/, 'the same again is the same link');
sql('region', "SELECT sync_unlink('up')");
make_link('region', 'Region');
like(said('region', "SELECT sync_attach('part', 'Region', 'part')"),
	qr/entity "part" is decided here.*HINT:.*relay => true/s, 'what is decided here stays so, and the hint says what a relay is');

# Made as the wrong kind, and mended before anything went over.
make_spoke('till', 'hub', 'Till');
make_link('till', 'Till');
exchange('till');
sql('till', "SELECT sync_link('up', 'hub', 'Till', relay => true)");
is(sql('till', 'SELECT relay FROM syncext.link'), 't', 'a link can become a relay as long as nothing has gone over it');
sql('till', "SELECT sync_link('up', 'hub', 'Till', relay => false); SELECT sync_attach('customer', 'Till', 'customer'); INSERT INTO customer VALUES ('T1', 'till')");
like(said('till', "SELECT sync_link('up', 'hub', 'Till', relay => true)"), qr/cannot have relations/, '... but not with a table');
sql('till', "SELECT sync_detach('customer')");
like(said('till', "SELECT sync_link('up', 'hub', 'Till', relay => true)"),
	qr/cannot become a relay any more.*DETAIL:  It has exchanged changes, or keeps some for its hub/s, '... nor with edits that wait to be sent');
exchange('till');
is(sql('hub', "SELECT fields->>'name' FROM syncext.canonical WHERE external_id = 'T1'"), 'till', 'what was captured before the table was detached is sent');

# ---------- an edit of a field that the record came without ----------

# CRM's word counts more than Minor's, and less than Major's.
make_hub('ranked', qw(CRM Minor Major Local));
sql('ranked', q(INSERT INTO syncext.source_priority VALUES ('CRM', '*', '*', 1), ('Minor', '*', '*', 5), ('Major', '*', '*', 0), ('Local', '*', '*', 5);
	CREATE TABLE customer (id text PRIMARY KEY, name text, phone text, email text);
	SELECT sync_attach('customer', 'Local', 'customer');
	CREATE FUNCTION crm(id text, fields jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('source', 'CRM', 'entity', 'customer', 'externalId', $1,
		'base', coalesce((SELECT row_version FROM syncext.canonical c WHERE c.entity = 'customer' AND external_id = $1), 0))
		|| CASE WHEN $2 IS NULL THEN '{"deleted": true}' ELSE jsonb_build_object('fields', $2) END)->>'resolution' $$;));
for (['minor', 'Minor'], ['major', 'Major'])
{
	my ($name, $source) = @$_;
	make_spoke($name, 'ranked', $source);
	make_link($name, $source);
	sql($name, "SELECT sync_attach('customer', '$source', 'customer')");
}
sub settle_ranked
{
	for (1 .. 3)
	{
		settle($_, 'ranked') for qw(minor major);
		sql('ranked', "SELECT sync_deliver('Local')");
	}
}
sub everywhere
{
	my ($id) = @_;
	my $query = "SELECT name, phone, email FROM customer WHERE id = '$id'";
	return join(' / ', sql('ranked', "SELECT fields->>'name', fields->>'phone', fields->>'email' FROM syncext.canonical WHERE external_id = '$id' AND NOT deleted"),
		map { sql($_, $query) } qw(ranked minor major));
}
for my $place (qw(minor ranked))
{
	sql('ranked', qq(SELECT crm('$place', '{"name": "n", "phone": "1"}')));
	settle_ranked();
	is(everywhere($place), join(' / ', ('n|1|') x 4), "$place: a record without a field that the tables have");
	sql('ranked', qq(SELECT crm('$place', NULL)));
	sql($place, "UPDATE customer SET email = 'x' WHERE id = '$place'");
	settle_ranked();
	is(everywhere($place), ' /  /  / ', "$place: an edit of that field does not bring it back against who counts more, neither as a shell nor whole");
}
sql('ranked', q(SELECT crm('major', '{"name": "n", "phone": "1"}')));
settle_ranked();
sql('ranked', q(SELECT crm('major', NULL)));
sql('major', "UPDATE customer SET email = 'x' WHERE id = 'major'");
settle_ranked();
is(everywhere('major'), join(' / ', ('n|1|x') x 4), 'who counts more brings it back, with all that it had');
sql('ranked', q(SELECT crm('major', '{"phone": "2"}')));
settle_ranked();
is(sql('major', 'SELECT count(*) FROM syncext.replica WHERE held IS NOT NULL'), '0', 'what a record does not have is not kept back');

# ---------- whose link it is ----------

# A worker runs as who made the link; it needs no password to connect here, but the right.
make_hub('hub2', qw(Desk));
make_spoke('desk', 'hub2', 'Desk');
sql('desk', "CREATE ROLE clerk SUPERUSER NOLOGIN; CREATE ROLE heir SUPERUSER LOGIN; SELECT sync_attach('customer', 'Desk', 'customer');
	CREATE USER MAPPING FOR clerk SERVER hub OPTIONS (user '" . sql('postgres', 'SELECT current_user') . "');
	CREATE USER MAPPING FOR heir SERVER hub OPTIONS (user '" . sql('postgres', 'SELECT current_user') . "')");
like(said('desk', "SET ROLE clerk; SELECT sync_link('up', 'hub', 'Desk')"),
	qr/role "clerk" cannot make a link: it may not log in.*HINT:  ALTER ROLE clerk LOGIN/s, 'who may not log in makes no link');
sql('desk', "ALTER ROLE clerk LOGIN; SET ROLE clerk; SELECT sync_link('up', 'hub', 'Desk')");
my $works = q(SELECT pid IS NOT NULL AND state = 'waiting' AND last_exchange IS NOT NULL FROM syncext.link_status);
arrives('desk', $works, 'who may does');

# The same name again, before the worker has seen that the first one was ended.
for my $how ('BEGIN; SELECT sync_unlink(\'up\'); SELECT sync_link(\'up\', \'hub\', \'Desk\'); COMMIT',
	'SELECT sync_unlink(\'up\'); SELECT sync_link(\'up\', \'hub\', \'Desk\')')
{
	sql('desk', "SET ROLE clerk; $how");
	arrives('desk', $works, 'ended and made again at once a link works, and link_status says so');
}
# What the relation's own edits made while there was no link goes to the hub by itself.
sql('desk', "INSERT INTO customer SELECT 'D' || n, 'd' || n FROM generate_series(1, 4) n");
arrives('hub2', 'SELECT count(*) = 4 FROM syncext.canonical', 'linked again, it exchanges');
arrives('desk', 'SELECT count(*) = 4 FROM syncext.replica WHERE row_version = 1', '... and has its answers');
sql('desk', "SELECT sync_unlink('up'); INSERT INTO customer VALUES ('D0', 'd0'), ('D5', 'd5'); UPDATE customer SET name = 'new' WHERE id IN ('D1', 'D4');
	DELETE FROM customer WHERE id IN ('D2', 'D5')");
sql('hub2', q(SELECT sync_apply('{"source": "Office", "entity": "customer", "externalId": "D3", "base": 1, "fields": {"name": "office"}}')));
sql('desk', "SET ROLE clerk; SELECT sync_link('up', 'hub', 'Desk')");
my $names = "SELECT string_agg(external_id || coalesce(fields->>'name', '-'), ' ' ORDER BY external_id) FROM syncext.canonical WHERE NOT deleted";
arrives('hub2', "SELECT ($names) = 'D0d0 D1new D3office D4new'", 'what was made, edited and deleted while it was not linked comes to the hub');
arrives('desk', "SELECT string_agg(id || name, ' ' ORDER BY id) = 'D0d0 D1new D3office D4new' FROM customer", '... and what was edited there, here');
arrives('desk', 'SELECT count(*) = 0 FROM syncext.capture_failure', '... and nothing is owed any more');
# What another source has a part in is not handed over unasked; the hint does it.
sql('desk', "SELECT sync_unlink('up'), sync_add_source('Other'), sync_apply('{\"source\": \"Other\", \"entity\": \"customer\", \"externalId\": \"O1\", \"version\": 1, \"fields\": {\"name\": \"o1\"}}');
	SELECT sync_deliver('Desk')");
like(said('desk', "SET ROLE clerk; SELECT sync_link('up', 'hub', 'Desk')"),
	qr/records of entity "customer" that it has decided itself.*HINT:.*sync_forget\('customer', external_id\) FROM syncext.canonical/s,
	'where others decided while it was not linked, a table is not linked unasked');
sql('desk', "SELECT sync_forget('customer', external_id) FROM syncext.canonical WHERE entity = 'customer'; SET ROLE clerk; SELECT sync_link('up', 'hub', 'Desk')");
sql('desk', "CALL sync_load('customer')");
arrives('hub2', "SELECT ($names) = 'D0d0 D1new D3office D4new O1o1'", '... with what the hint says all of it comes to the hub');

# one that waits to take over from another may be there for three seconds
arrives('desk', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'syncext link' AND datname = 'desk'), 'one worker is left');
sql('desk', "ALTER ROLE clerk NOLOGIN; SELECT pg_terminate_backend(pid) FROM syncext.link_status");
arrives('desk', q(SELECT state = 'stopped' AND stopped_because = 'role clerk, which it belongs to, may not log in' FROM syncext.link_status),
	'a role that may not log in any more: link_status says why the link is stopped');
like(sql('desk', "SELECT severity, problem, hint FROM sync_check() WHERE problem LIKE 'has no worker%'"),
	qr/^error\|has no worker: role clerk, which it belongs to, may not log in\|ALTER ROLE clerk LOGIN, which needs no password, and SELECT syncext.start_workers\(\)/,
	'... and sync_check what to call');
sql('desk', 'ALTER ROLE clerk LOGIN; SELECT syncext.start_workers()');
arrives('desk', $works, '... which helps');
sql('desk', "DROP OWNED BY clerk; DROP ROLE clerk; SELECT pg_terminate_backend(pid) FROM syncext.link_status");
arrives('desk', q(SELECT state = 'stopped' AND stopped_because = 'role clerk, which it belongs to, does not exist' FROM syncext.link_status),
	'a role that was dropped: link_status says why the link is stopped');
like(said('desk', "CALL sync_exchange('up')"), qr/role "clerk" of link "up" does not exist.*HINT:  CREATE ROLE clerk, or UPDATE/s, '... and whoever exchanges by hand');
sql('desk', "UPDATE syncext.link SET owner = 'heir' WHERE name = 'up'");
arrives('desk', $works, '... which helps');

# ---------- an entity goes and comes at the hub ----------

sql('desk', "INSERT INTO customer VALUES ('E0', 'e0')");
arrives('hub2', q(SELECT count(*) = 1 FROM syncext.canonical WHERE external_id = 'E0'), 'the link is open');
sql('hub2', "DELETE FROM syncext.entity WHERE name = 'customer'");
sql('desk', "INSERT INTO customer VALUES ('E1', 'e1')");
arrives('desk', q(SELECT last_error LIKE '42704: %entity "customer"%' FROM syncext.link_status), 'an entity is dropped while a link is open: the link says so');
is(sql('desk', 'SELECT count(*) FROM syncext.capture_failure'), '0', '... and gives nothing up');
sql('hub2', "SELECT sync_add_entity('customer')");
arrives('hub2', q(SELECT count(*) = 1 FROM syncext.canonical WHERE external_id = 'E1'), '... what was edited meanwhile arrives when it is added again');

done_testing();
