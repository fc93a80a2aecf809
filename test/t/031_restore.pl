# 031_restore.pl
#	  A hub that was dumped and restored into another cluster is complete, and
#	  gives every target its records again, as its routes let it see them; batches
#	  that were handed out before are void.  One that pg_upgrade moved goes on
#	  exactly where it was.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tables = q(SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
	WHERE relnamespace = 'syncext'::regnamespace AND relkind = 'r');
# Everything but what is told apart by transaction ids, or begins anew
my $contents = join(";\n", map { "SELECT '$_', t.* FROM syncext.$_ t ORDER BY t::text" }
	qw(source source_priority field_rule entity route routed canonical conflict_log waiting child pending))
	. q(; SELECT seq, recorded_at, entity, external_id, source, version, row_version, resolution, told, fields, detail
		FROM syncext.change_log ORDER BY seq;
	SELECT entity, field, parent, on_delete, listed FROM syncext.reference;
	SELECT relation, source, entity, key, columns FROM syncext.binding;
	SELECT relation, external_id, row_version, fields FROM syncext.replica ORDER BY 1, 2;
	SELECT * FROM customers ORDER BY 1);
my $sequences = q(SELECT sequencename, last_value FROM pg_sequences
	WHERE schemaname = 'syncext' AND sequencename <> 'tick_id_seq' ORDER BY 1);

sub change
{
	my ($node, $document) = @_;
	$node->safe_psql('hub', "SELECT sync_apply('$document')->>'resolution'");
}

sub pull
{
	my ($node, $source) = @_;
	return $node->safe_psql('hub', qq(
		SELECT coalesce(string_agg(external_id || CASE WHEN deleted THEN ' gone' ELSE '' END, ', ' ORDER BY external_id), ''), max(batch)
		FROM sync_pull('$source', 100)));
}

sub ack
{
	my ($node, $source, $batch) = @_;
	$node->safe_psql('hub', "SELECT sync_ack('$source', $batch)");
}

# The records and fields that a source is shown, with its batch left out.
sub see
{
	my ($node, $source) = @_;
	return $node->safe_psql('hub', qq(
		SELECT string_agg(external_id || CASE WHEN deleted THEN ' gone' ELSE ' ' || (fields::text) END, ', ' ORDER BY external_id)
		FROM sync_pull('$source', 100)));
}

# The error of an acknowledgement, with its detail and hint
sub refusal
{
	my ($node, $source, $batch) = @_;
	my ($rc, $out, $err) = $node->psql('hub', "SELECT sync_ack('$source', $batch)");

	return $err;
}

# Pulls and acknowledges until nothing comes any more; returns all that came.
sub take
{
	my ($node, $source) = @_;
	my @all;

	while ((my $got = pull($node, $source)) ne '|')
	{
		my ($records, $batch) = split /\|/, $got;
		push @all, split /, /, $records;
		ack($node, $source, $batch);
	}
	return join(', ', sort @all);
}

my $old = PostgreSQL::Test::Cluster->new('old');
$old->init;
# what failed or waits isn't tried again while this runs, and a batch stays out
$old->append_conf('postgresql.conf', "syncext.retry_base = 1h\nsyncext.waiting_retry = 1h\nsyncext.lease = 1h");
$old->start;
# the new cluster is far behind with its transaction ids
$old->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1 .. 3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
$old->safe_psql('postgres', 'CREATE DATABASE hub');
$old->safe_psql('hub', q(
	CREATE EXTENSION syncext;
	SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Desk', 3), sync_add_source('Shop', 4), sync_add_source('Web'), sync_add_source('New');
	SELECT sync_add_entity('customer', '{version,merge,manual}'), sync_add_entity('order'), sync_add_entity('person');
	SELECT sync_add_reference('order', 'clientId', 'customer', 'restrict');
	SELECT sync_subscribe('Shop', '{customer}'), sync_subscribe('Web', '{person}'), sync_subscribe('New', '{person}');
	SELECT sync_route('Web', 'person', '$.region == "EU"', '{phone}');
	UPDATE syncext.entity SET ladder = '{latest,keep}' WHERE name = 'record';
	CREATE TABLE customers (id text PRIMARY KEY, name text, phone text);
	SELECT sync_attach('customers', 'Desk', 'customer');
	INSERT INTO customers VALUES ('D1', 'Desk''s own', '1');
	-- columns and partitions get other numbers when they are restored
	CREATE TYPE mood AS ENUM ('good');
	CREATE TABLE visit (gone int, id int PRIMARY KEY, mood mood, place varchar(10)) PARTITION BY RANGE (id);
	CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM (2) TO (3);
	CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (1) TO (2);
	ALTER TABLE visit DROP COLUMN gone;
	SELECT sync_add_entity('visit'), sync_add_source('Door'), sync_subscribe('Door', '{visit}');
	SELECT sync_attach('visit', 'Door', 'visit');
	-- a row, of which the others need not hear
	SET syncext.inbound = 'on';
	INSERT INTO visit (id) VALUES (2);
	RESET syncext.inbound;
	DROP TABLE visit_2;
	ALTER TABLE visit ALTER place TYPE varchar(5);
));
my $ddl = q(SELECT object || ': ' || problem FROM sync_check() WHERE object ~ 'visit' ORDER BY 1);
my $ddl_told = $old->safe_psql('hub', $ddl);
like($ddl_told, qr/^partition public.visit_2: was dropped .*\nrelation public.visit: column place was of type character varying\(10\)[^\n]*$/, 'what DDL made of rows is told');
change($old, $_) for (
	'[{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 1, "fields": {"name": "Anna", "phone": "1"}},
	  {"source": "CRM", "entity": "customer", "externalId": "C2", "version": 1, "fields": {"name": "Bob", "phone": "2"}},
	  {"source": "CRM", "entity": "customer", "externalId": "C3", "version": 1, "fields": {"name": "Gone", "phone": "3"}},
	  {"source": "CRM", "entity": "order", "externalId": "O1", "version": 1, "fields": {"clientId": "C1"}},
	  {"source": "CRM", "entity": "order", "externalId": "O9", "version": 1, "fields": {"clientId": "nobody"}}]',
	'{"source": "ERP", "entity": "customer", "externalId": "C2", "version": 1, "fields": {"name": "Robert"}}',
	'{"source": "CRM", "entity": "customer", "externalId": "C3", "version": 2, "deleted": true}',
	'[{"source": "CRM", "entity": "person", "externalId": "E1", "version": 1, "fields": {"region": "EU", "phone": "1"}},
	  {"source": "CRM", "entity": "person", "externalId": "E2", "version": 1, "fields": {"region": "EU", "phone": "2"}},
	  {"source": "CRM", "entity": "person", "externalId": "E3", "version": 1, "fields": {"region": "US", "phone": "3"}},
	  {"source": "CRM", "entity": "person", "externalId": "E4", "version": 1, "fields": {"region": "US", "phone": "4"}}]');
$old->safe_psql('hub', q(SELECT sync_deliver('Desk')));
is(pull($old, 'ERP'), 'C1, C2, C3 gone, D1, E1, E2, E3, E4, O1|1', 'ERP pulls all there is');
ack($old, 'ERP', 1);
is(pull($old, 'Shop'), 'C1, C2, C3 gone, D1|1', 'and Shop what it gets');
$old->safe_psql('hub', q(SELECT sync_ack('Shop', 1, '[{"entity": "customer", "externalId": "C2", "error": "no"}]')));
change($old, '{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 2, "fields": {"phone": "11"}}');
# Web is served by its route; then one record leaves its filter, and one enters it
is(see($old, 'Web'), 'E1 {"region": "EU"}, E2 {"region": "EU"}', 'a route lets Web see two records, without a field');
ack($old, 'Web', 1);
change($old, $_) for (
	'{"source": "CRM", "entity": "person", "externalId": "E2", "version": 2, "fields": {"region": "US"}}',
	'{"source": "CRM", "entity": "person", "externalId": "E4", "version": 2, "fields": {"region": "EU"}}');
# the log is spread over two tables
$old->safe_psql('hub', q(UPDATE syncext.feed_state SET current_log = 1));
change($old, '{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 3, "fields": {"phone": "12"}}');
is(pull($old, 'CRM'), 'D1|1', 'a batch is out as the dump is taken');

my $expected = $old->safe_psql('hub', $contents);
my $values = $old->safe_psql('hub', $sequences);
my $dumps = PostgreSQL::Test::Utils::tempdir;
$old->command_ok([ 'pg_dump', '-f', "$dumps/plain.sql", $old->connstr('hub') ], 'pg_dump');
$old->command_ok([ 'pg_dump', '-Fd', '-f', "$dumps/dir", $old->connstr('hub') ], 'pg_dump into a directory');

# Rules whose functions others may not call, and one whose function comes later.
$old->safe_psql('hub', q(
	CREATE SCHEMA rules;
	CREATE FUNCTION rules.closed(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
	REVOKE EXECUTE ON FUNCTION rules.closed FROM PUBLIC;
	CREATE FUNCTION rules.late(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
	CREATE FUNCTION rules.key(jsonb) RETURNS text IMMUTABLE LANGUAGE sql RETURN $1->>'phone';
	SELECT sync_rule('person', 'closed', 'function', '{"function": "rules.closed"}'), sync_rule('person', 'late', 'function', '{"function": "rules.late"}'),
	       sync_rule('person', 'tags', 'union'), sync_add_match('person', 'phone', '{phone}', 'rules.key(jsonb)');
	INSERT INTO syncext.match_candidate (entity, external_id, other_id, rule, status) VALUES ('person', 'E1', 'E2', 'phone', 'distinct');
));
$old->command_ok([ 'pg_dump', '-Fc', '-f', "$dumps/rules", $old->connstr('hub') ], 'pg_dump of the rules');
$old->safe_psql('hub', q(DELETE FROM syncext.field_rule; DELETE FROM syncext.match_rule; DELETE FROM syncext.match_candidate; DROP SCHEMA rules CASCADE));

# every table of the extension is in the dump, but those that begin anew
my $dump = slurp_file("$dumps/plain.sql");
is(join(' ', grep { $dump !~ /^COPY syncext\.\Q$_\E /m } split / /, $old->safe_psql('hub', $tables)),
	'child feed_state listener match_build match_due match_key match_problem route_failure stat_reset stat_row', 'all tables are dumped but those that are made anew');

# the original goes on for a while
is(pull($old, 'Shop'), 'C1|2', 'the original hands out a batch that the dump does not know of');

# ---------- another cluster ----------

sub check_restored
{
	my ($node, $how, $listed) = @_;

	is($node->safe_psql('hub', 'SELECT listed, syncext.list_children() FROM syncext.reference'), "$listed|t", "$how: a reference's children are listed again");
	is($node->safe_psql('hub', $contents), $expected, "$how: everything is there");
	is($node->safe_psql('hub', $sequences), $values, "$how: sequences go on");
	is($node->safe_psql('hub', $ddl), $ddl_told, "$how: what DDL had made of rows is told as before");
	# a write before anybody has pulled, and the triggers of attached tables
	change($node, '{"source": "CRM", "entity": "customer", "externalId": "N1", "version": 1, "fields": {"name": "New"}}');
	$node->safe_psql('hub', q(UPDATE customers SET name = 'Desk edits' WHERE id = 'D1'));
	# a parent with children is kept
	is(change($node, '{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 9, "deleted": true}'),
		'RESTRICTED', "$how: children are known");

	# the first pull hasn't come yet
	my $void = qr/batch 1 of source "CRM" is not the one that is out.*HINT:.*pull again and acknowledge what comes/is;

	like(refusal($node, 'CRM', 1), $void, "$how: the batch that was out is none before the first pull");
	pull($node, 'CRM');
	like(refusal($node, 'CRM', 1), $void, "$how: nor after it");
	pull($node, 'Shop');
	like(refusal($node, 'Shop', 2), qr/batch 2 of source "Shop" is not the one that is out/,
		"$how: nor is one that was handed out after the dump");
	is(take($node, 'CRM'), 'C1, C2, C3 gone, D1, E1, E2, E3, E4, N1, O1', "$how: who had it gets all records");
	is(take($node, 'Shop'), 'C1, C3 gone, D1, N1', "$how: a subscription holds, and so does a retry");
	is(take($node, 'ERP'), 'C1, C2, C3 gone, D1, E1, E2, E3, E4, N1, O1', "$how: who had all gets all");
	is(see($node, 'Web'), 'E1 {"region": "EU"}, E2 gone, E4 {"region": "EU"}',
		"$how: a filter and a mask hold, and what left the filter is gone");
	is(take($node, 'Web'), 'E1, E2 gone, E4', "$how: and no more than that");
	change($node, '{"source": "CRM", "entity": "person", "externalId": "E1", "version": 2, "fields": {"region": "US"}}');
	change($node, '{"source": "CRM", "entity": "person", "externalId": "E3", "version": 2, "fields": {"phone": "33"}}');
	change($node, '{"source": "CRM", "entity": "person", "externalId": "E4", "version": 3, "fields": {"phone": "44"}}');
	is(see($node, 'Web'), 'E1 gone, E4 {"region": "EU"}', "$how: and go on to");
	take($node, 'Web');
	# a target that had nothing when the dump was taken is told of no record that it may not see
	$node->safe_psql('hub', q(SELECT sync_route('New', 'person', '$.region == "EU"')));
	is(take($node, 'New'), 'E4', "$how: who had nothing has nothing to lose by a filter");
	is(take($node, 'ERP'), 'E1, E3, E4', "$how: the others get all of it");
	change($node, '{"source": "CRM", "entity": "customer", "externalId": "N2", "version": 1, "fields": {"name": "Newer"}}');
	is(take($node, 'ERP'), 'N2', "$how: the feed goes on");
	is($node->safe_psql('hub', q(SELECT count(*) FROM syncext.outbound_change WHERE target = 'ERP')),
		'0', "$how: nothing of the old log counts as waiting");
	is($node->safe_psql('hub', 'SELECT incarnation FROM syncext.feed_state'), '2', "$how: once and no more");
	$node->safe_psql('hub', q(CALL sync_maintain()));
	is($node->safe_psql('hub', 'SELECT incarnation FROM syncext.feed_state'), '2', "$how: maintenance finds it done");
	is($node->safe_psql('hub', $ddl), $ddl_told, "$how: and keeps what DDL had made of rows");
	# past the transaction ids of the old log, nothing of it comes up
	$node->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1 .. 4000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
	is(pull($node, 'ERP'), '|', "$how: nothing of the old log comes up later");
}

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->start;
$new->safe_psql('postgres', 'CREATE DATABASE hub');
$new->command_ok([ 'psql', '-qXv', 'ON_ERROR_STOP=1', '-f', "$dumps/plain.sql", $new->connstr('hub') ], 'restore by psql');
check_restored($new, 'psql', 'f');

# by pg_restore; maintenance comes first
$new->safe_psql('postgres', 'DROP DATABASE hub');
$new->safe_psql('postgres', 'CREATE DATABASE hub');
$new->command_ok([ 'pg_restore', '-e', '-d', $new->connstr('hub'), "$dumps/dir" ], 'restore by pg_restore');
like($new->safe_psql('hub', 'CALL sync_maintain()'), qr/"incarnation": true/, 'maintenance notices it, too');
# which has listed them
check_restored($new, 'pg_restore', 't');

# in sections, our tables first, the others in parallel; in which order the triggers of a partition
# are made tells whether it was complete
$new->safe_psql('postgres', 'DROP DATABASE hub');
$new->safe_psql('postgres', 'CREATE DATABASE hub');
$new->command_ok([ 'pg_restore', '-e', @$_, '-d', $new->connstr('hub'), "$dumps/dir" ], "pg_restore @$_")
	for ([ '--section=pre-data' ], [ '--section=data', '-n', 'syncext' ], [ '-j', '2', '--section=data', '-N', 'syncext' ], [ '--section=post-data' ]);
check_restored($new, 'in sections', 'f');

# what was left out is told: here without the cursors, and with triggers disabled
$new->safe_psql('postgres', 'CREATE DATABASE part');
$new->safe_psql('postgres', 'CREATE DATABASE disabled');
my @list = split /\n/, `pg_restore -l $dumps/dir`;
append_to_file("$dumps/list", join("\n", grep { !/TABLE DATA syncext cursor/ } @list) . "\n");
$new->command_ok([ 'pg_restore', '-e', '-L', "$dumps/list", '-d', $new->connstr('part'), "$dumps/dir" ], 'restore without a table');
is($new->safe_psql('part', q(SELECT count(*) FROM sync_check() WHERE problem ~ 'has no cursor')), $new->safe_psql('hub', 'SELECT count(*) FROM syncext.source'), 'that it is missing is told');
$new->command_ok([ 'pg_restore', '-e', '-s', '-d', $new->connstr('disabled'), "$dumps/dir" ], 'restore of the schema');
$new->command_fails([ 'pg_restore', '-a', '--disable-triggers', '-d', $new->connstr('disabled'), "$dumps/dir" ], 'and of the data, without triggers');
is($new->safe_psql('disabled', q(SELECT string_agg(object, ', ' ORDER BY object) FROM sync_check() WHERE problem ~ 'names entity .* missing')),
	'reference clientId of entity order, reference clientId of entity order, relation public.customers, relation public.visit, route of source Web', 'that entities are missing is told');
$new->safe_psql('postgres', "DROP DATABASE $_") for qw(part disabled);

# ---------- rules of fields, by a role that may not call their functions ----------

$new->safe_psql('postgres', 'CREATE DATABASE rules; CREATE ROLE bringer LOGIN');
$new->safe_psql('rules', q(
	CREATE EXTENSION syncext;
	SELECT sync_add_entity('person'), sync_add_source('CRM'), sync_add_source('ERP');
	SELECT sync_grant('bringer', 'admin');
	CREATE SCHEMA rules;
	GRANT USAGE ON SCHEMA rules TO PUBLIC;
	CREATE FUNCTION rules.closed(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
	REVOKE EXECUTE ON FUNCTION rules.closed FROM PUBLIC;
	GRANT USAGE ON SCHEMA syncext TO bringer;
));
my @bring = ('pg_restore', '-e', '--data-only', '-n', 'syncext', '-t', 'field_rule', '-t', 'match_rule', '-U', 'bringer', '-d', $new->connstr('rules'), "$dumps/rules");
$new->command_ok(\@bring, 'the rules are restored by a role that may not call their functions');
is($new->safe_psql('rules', 'SELECT field, written_by FROM syncext.field_rule ORDER BY 1'), "closed|bringer\nlate|bringer\ntags|bringer", 'all of them');
my $told = q(SELECT object || ': ' || problem FROM sync_check() WHERE object LIKE 'field rule%' ORDER BY 1);
is($new->safe_psql('rules', $told),
	"field rule of closed of entity person: role bringer, which wrote the rule, may not call function rules.closed: the rule decides nothing\n"
	. 'field rule of late of entity person: there is no function rules.late(jsonb, jsonb, jsonb) that returns jsonb: the rule decides nothing',
	'which of them decide nothing is told');
is($new->safe_psql('rules', q(SELECT name, "normalize", written_by FROM syncext.match_rule)), 'phone|rules.key|bringer', 'a match rule comes, too');
$new->command_ok([ 'pg_restore', '-e', '--data-only', '-n', 'syncext', '-t', 'match_candidate', '-d', $new->connstr('rules'), "$dumps/rules" ], 'candidates are restored');
is($new->safe_psql('rules', q(SELECT external_id, other_id, status FROM syncext.match_candidate)), 'E1|E2|distinct', 'and what was found to be distinct');
my $decide = q(SELECT sync_apply('{"entity":"person","externalId":"P","source":"CRM","version":1,"fields":{"closed":1,"late":1,"tags":["a"]}}');
	SELECT a->>'resolution', a->>'reason' FROM sync_explain('{"entity":"person","externalId":"P","source":"ERP","version":1,"fields":{"closed":2,"late":2}}') a);
like($new->safe_psql('rules', $decide), qr/MANUAL.*the rule of late failed: there is no function.*the rule of closed failed: role bringer.*may not call/,
	'nothing is called that the role may not call');
$new->safe_psql('rules', q(GRANT EXECUTE ON FUNCTION rules.closed TO bringer;
	CREATE FUNCTION rules.late(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS 'SELECT $1'));
like($new->safe_psql('rules', $told), qr/^field rule of closed of entity person: role bringer, which wrote the rule, may not act as the owner of function rules.closed, which is not SECURITY DEFINER: [^\n]*$/,
	'nor what runs as a role that it may not act as');
$new->safe_psql('rules', 'ALTER FUNCTION rules.closed SECURITY DEFINER');
is($new->safe_psql('rules', $told), '', 'with the right, and the function, nothing is amiss');
like($new->safe_psql('rules', $decide), qr/FIELD_RULE\|by rule, late: rules.late.*closed: rules.closed/, 'and they decide');
is($new->safe_psql('rules', q(SELECT object || ': ' || problem FROM sync_check() WHERE object ~ 'match|^entity person' ORDER BY 1)),
	"entity person: its match keys are to be built: what has none is not found\n"
	. 'match rule phone of entity person: there is no function rules.key(jsonb) that returns text: the rule finds nothing', 'that its keys are to be built is told, and that its function is missing');
$new->safe_psql('rules', q(DELETE FROM syncext.match_problem; CREATE FUNCTION rules.key(jsonb) RETURNS text IMMUTABLE SECURITY DEFINER LANGUAGE sql RETURN $1->>'late'));
$new->safe_psql('rules', q(CALL sync_rematch('person')));
is($new->safe_psql('rules', q(SELECT count(*) FROM sync_check() WHERE object ~ 'match|^entity person')), '0', 'built, nothing is amiss');
$new->safe_psql('postgres', 'DROP DATABASE rules');

# ---------- the same cluster ----------

$old->safe_psql('postgres', 'CREATE DATABASE copy');
$old->command_ok([ 'psql', '-qXv', 'ON_ERROR_STOP=1', '-f', "$dumps/plain.sql", $old->connstr('copy') ], 'restore beside the original');
is($old->safe_psql('copy', q(SELECT count(*) FROM sync_pull('ERP'))), '4', 'a copy begins anew, too');
is(pull($old, 'ERP'), 'C1, E2, E4|2', 'the original goes on');
ack($old, 'ERP', 2);
$old->safe_psql('postgres', 'DROP DATABASE copy');

# the original goes on meanwhile, so row versions of the two aren't to be compared
my $epoch = $old->safe_psql('hub', 'SELECT epoch FROM syncext.feed_origin');
$old->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE hub');
my $served = $old->safe_psql('copy', q(SELECT external_id, batch, epoch FROM sync_pull('CRM')));
like($served, qr/^D1\|1\|\d+$/, 'a copy by TEMPLATE goes on where it was');
cmp_ok((split /\|/, $served)[2], '>', $epoch, 'in an epoch of its own');
is($old->safe_psql('copy', q(SELECT regexp_replace(problem, '^.*?: ', '') FROM sync_check() WHERE object = 'change feed')),
	"it is a copy by CREATE DATABASE \xe2\x80\xa6 TEMPLATE", 'and tells why');
is($old->safe_psql('copy', q(SELECT DISTINCT epoch FROM sync_pull('CRM'))), (split /\|/, $served)[2], 'it begins once');
is($old->safe_psql('hub', q(SELECT DISTINCT epoch FROM sync_pull('CRM'))), $epoch, q(the original's is what it was));
$old->safe_psql('postgres', 'DROP DATABASE copy');

# ---------- pg_upgrade ----------

my $upgraded = PostgreSQL::Test::Cluster->new('upgraded');
$upgraded->init;
change($old, '{"source": "CRM", "entity": "customer", "externalId": "U1", "version": 1, "fields": {"name": "Before"}}');
$old->stop;
my $bindir = $old->config_data('--bindir');
chdir $dumps or die;
command_ok(
	[   'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $upgraded->data_dir,
		'-b', $bindir, '-B', $bindir, '-s', $upgraded->host, '-p', $old->port, '-P', $upgraded->port ],
	'pg_upgrade');
$upgraded->start;
isnt($upgraded->safe_psql('hub', 'SELECT system_identifier FROM syncext.feed_origin'),
	$upgraded->safe_psql('hub', 'SELECT system_identifier FROM pg_control_system()'), 'it is another cluster');
is(pull($upgraded, 'CRM'), 'D1|1', 'the batch that was out is still out');
is(see($upgraded, 'Web'), 'E2 gone, E4 {"region": "EU"}', 'its routes go on, too');
is(pull($upgraded, 'ERP'), 'U1|3', 'and ERP gets just what it had not');
ack($upgraded, 'ERP', 3);
is(pull($upgraded, 'ERP'), '|', 'and no more');
is($upgraded->safe_psql('hub', 'SELECT incarnation FROM syncext.feed_state'), '1', 'the feed is the same');
is($upgraded->safe_psql('hub', 'SELECT system_identifier FROM syncext.feed_origin'),
	$upgraded->safe_psql('hub', 'SELECT system_identifier FROM pg_control_system()'), 'and knows its new cluster');
$upgraded->stop;
$new->stop;
done_testing();
