# 031_restore.pl
#	  A hub that was dumped and restored into another cluster is complete, and
#	  gives every target its records again; one that pg_upgrade moved goes on
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
	qw(source source_priority entity reference canonical conflict_log waiting child pending))
	. q(; SELECT seq, recorded_at, entity, external_id, source, version, row_version, resolution, told, fields, detail
		FROM syncext.change_log ORDER BY seq;
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
$old->start;
# the new cluster is far behind with its transaction ids
$old->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1 .. 3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
$old->safe_psql('postgres', 'CREATE DATABASE hub');
$old->safe_psql('hub', q(
	CREATE EXTENSION syncext;
	SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Desk', 3), sync_add_source('Shop', 4);
	SELECT sync_add_entity('customer', '{version,merge,manual}'), sync_add_entity('order');
	SELECT sync_add_reference('order', 'clientId', 'customer', 'restrict');
	SELECT sync_subscribe('Shop', '{customer}');
	UPDATE syncext.entity SET ladder = '{latest,keep}' WHERE name = 'record';
	CREATE TABLE customers (id text PRIMARY KEY, name text, phone text);
	SELECT sync_attach('customers', 'Desk', 'customer');
	INSERT INTO customers VALUES ('D1', 'Desk''s own', '1');
));
change($old, $_) for (
	'[{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 1, "fields": {"name": "Anna", "phone": "1"}},
	  {"source": "CRM", "entity": "customer", "externalId": "C2", "version": 1, "fields": {"name": "Bob", "phone": "2"}},
	  {"source": "CRM", "entity": "customer", "externalId": "C3", "version": 1, "fields": {"name": "Gone", "phone": "3"}},
	  {"source": "CRM", "entity": "order", "externalId": "O1", "version": 1, "fields": {"clientId": "C1"}},
	  {"source": "CRM", "entity": "order", "externalId": "O9", "version": 1, "fields": {"clientId": "nobody"}}]',
	'{"source": "ERP", "entity": "customer", "externalId": "C2", "version": 1, "fields": {"name": "Robert"}}',
	'{"source": "CRM", "entity": "customer", "externalId": "C3", "version": 2, "deleted": true}');
$old->safe_psql('hub', q(SELECT sync_deliver('Desk')));
is(pull($old, 'ERP'), 'C1, C2, C3 gone, D1, O1|1', 'ERP pulls all there is');
ack($old, 'ERP', 1);
is(pull($old, 'Shop'), 'C1, C2, C3 gone, D1|1', 'and Shop what it gets');
$old->safe_psql('hub', q(SELECT sync_ack('Shop', 1, '[{"entity": "customer", "externalId": "C2", "error": "no"}]')));
change($old, '{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 2, "fields": {"phone": "11"}}');
# the log is spread over two tables
$old->safe_psql('hub', q(UPDATE syncext.feed_state SET current_log = 1));
change($old, '{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 3, "fields": {"phone": "12"}}');
is(pull($old, 'CRM'), 'D1|1', 'a batch is out as the dump is taken');

my $expected = $old->safe_psql('hub', $contents);
my $values = $old->safe_psql('hub', $sequences);
my $dumps = PostgreSQL::Test::Utils::tempdir;
$old->command_ok([ 'pg_dump', '-f', "$dumps/plain.sql", $old->connstr('hub') ], 'pg_dump');
$old->command_ok([ 'pg_dump', '-Fd', '-f', "$dumps/dir", $old->connstr('hub') ], 'pg_dump into a directory');

# every table of the extension is in the dump, but those that begin anew
my $dump = slurp_file("$dumps/plain.sql");
is(join(' ', grep { $dump !~ /^COPY syncext\.\Q$_\E /m } split / /, $old->safe_psql('hub', $tables)),
	'child feed_state', 'all tables are dumped but those that are made anew');

# ---------- another cluster ----------

sub check_restored
{
	my ($node, $how) = @_;

	is($node->safe_psql('hub', $contents), $expected, "$how: everything is there");
	is($node->safe_psql('hub', $sequences), $values, "$how: sequences go on");
	# a write before anybody has pulled, and the triggers of attached tables
	change($node, '{"source": "CRM", "entity": "customer", "externalId": "N1", "version": 1, "fields": {"name": "New"}}');
	$node->safe_psql('hub', q(UPDATE customers SET name = 'Desk edits' WHERE id = 'D1'));
	# a parent with children is kept
	is(change($node, '{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 9, "deleted": true}'),
		'RESTRICTED', "$how: children are known");

	my ($rc, $out, $err) = $node->psql('hub', q(SELECT count(*) FROM sync_pull('CRM'); SELECT sync_ack('CRM', 1)));
	like($err, qr/batch 1 of source "CRM" is not the one that is out/, "$how: the batch that was out is none any more");
	is(take($node, 'CRM'), 'C1, C2, C3 gone, D1, N1, O1', "$how: who had it gets all records");
	is(take($node, 'Shop'), 'C1, C3 gone, D1, N1', "$how: a subscription holds, and so does a retry");
	is(take($node, 'ERP'), 'C1, C2, C3 gone, D1, N1, O1', "$how: who had all gets all");
	change($node, '{"source": "CRM", "entity": "customer", "externalId": "N2", "version": 1, "fields": {"name": "Newer"}}');
	is(take($node, 'ERP'), 'N2', "$how: the feed goes on");
	is($node->safe_psql('hub', q(SELECT count(*) FROM syncext.outbound_change WHERE target = 'ERP')),
		'0', "$how: nothing of the old log counts as waiting");
	is($node->safe_psql('hub', 'SELECT incarnation FROM syncext.feed_state'), '2', "$how: once and no more");
	$node->safe_psql('hub', q(CALL sync_maintain()));
	is($node->safe_psql('hub', 'SELECT incarnation FROM syncext.feed_state'), '2', "$how: maintenance finds it done");
	# past the transaction ids of the old log, nothing of it comes up
	$node->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1 .. 4000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
	is(pull($node, 'ERP'), '|', "$how: nothing of the old log comes up later");
}

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->start;
$new->safe_psql('postgres', 'CREATE DATABASE hub');
$new->command_ok([ 'psql', '-qXv', 'ON_ERROR_STOP=1', '-f', "$dumps/plain.sql", $new->connstr('hub') ], 'restore by psql');
check_restored($new, 'psql');

# by pg_restore; maintenance comes first
$new->safe_psql('postgres', 'DROP DATABASE hub');
$new->safe_psql('postgres', 'CREATE DATABASE hub');
$new->command_ok([ 'pg_restore', '-e', '-d', $new->connstr('hub'), "$dumps/dir" ], 'restore by pg_restore');
like($new->safe_psql('hub', 'CALL sync_maintain()'), qr/"incarnation": true/, 'maintenance notices it, too');
check_restored($new, 'pg_restore');

# ---------- the same cluster ----------

$old->safe_psql('postgres', 'CREATE DATABASE copy');
$old->command_ok([ 'psql', '-qXv', 'ON_ERROR_STOP=1', '-f', "$dumps/plain.sql", $old->connstr('copy') ], 'restore beside the original');
is($old->safe_psql('copy', q(SELECT count(*) FROM sync_pull('ERP'))), '4', 'a copy begins anew, too');
is(pull($old, 'ERP'), 'C1|2', 'the original goes on');
ack($old, 'ERP', 2);
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
is(pull($upgraded, 'ERP'), 'U1|3', 'and ERP gets just what it had not');
ack($upgraded, 'ERP', 3);
is(pull($upgraded, 'ERP'), '|', 'and no more');
is($upgraded->safe_psql('hub', 'SELECT incarnation FROM syncext.feed_state'), '1', 'the feed is the same');
is($upgraded->safe_psql('hub', 'SELECT system_identifier FROM syncext.feed_origin'),
	$upgraded->safe_psql('hub', 'SELECT system_identifier FROM pg_control_system()'), 'and knows its new cluster');
$upgraded->stop;
$new->stop;
done_testing();
