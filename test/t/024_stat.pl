# 024_stat.pl
#	  Counters: of all sessions, of each database apart, and none that is lost when a session
#	  ends; on a standby; and where there is no shared memory, of commits that must
#	  not wait, or fail, for them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hub');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'syncext'\n");
$node->start;

for my $database ('one', 'two')
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, q(CREATE EXTENSION syncext; SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2)));
}
my $counted = q(SELECT string_agg(concat_ws(' ', source, entity, resolution, changes, fields_changed), ', ' ORDER BY source, entity, resolution) FROM syncext.stat);

is($node->safe_psql('one', 'SELECT place, unfolded IS NULL FROM syncext.stat_info'), 'shared memory|t', 'they are in shared memory');
for my $i (1 .. 5)
{
	$node->safe_psql('one', qq(SELECT sync_apply('{"source":"CRM","externalId":"$i","version":1,"a":1,"b":2}')));
}
$node->psql('one', q(SELECT sync_apply('{"source":"CRM","externalId":"x"}')));
$node->safe_psql('two', q(SELECT sync_apply('{"source":"ERP","externalId":"1","version":1,"a":1}')));
is($node->safe_psql('one', $counted), 'CRM record NEW_RECORD 5 10, CRM record REFUSED 1 0', 'of sessions that have ended');
is($node->safe_psql('two', $counted), 'ERP record NEW_RECORD 1 1', 'each database has its own');
is($node->safe_psql('one', 'SELECT count(*) FROM syncext.stat_row'), '0', 'and nothing is written');

# they count while others do
$node->safe_psql('one', q(CREATE FUNCTION many(n int) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM generate_series(1, 200) i, sync_apply(jsonb_build_object('source', 'ERP', 'externalId', n || '-' || i, 'version', 1, 'a', i)) $$));
my @runs = map { my $n = $_; IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('one'), '-c', "SELECT many($n)" ], '>', \my $out) } 1 .. 4;
$_->finish for @runs;
is($node->safe_psql('one', q(SELECT changes FROM syncext.stat WHERE source = 'ERP')), '800', 'none is lost among sessions');

# more names than there is room for
$node->safe_psql('two', q(
	DO $$ BEGIN FOR i IN 1 .. 2500 LOOP PERFORM sync_add_source('S' || i); END LOOP; END $$;
	SELECT sync_add_entity('e' || e) FROM generate_series(1, 4) e));
$node->safe_psql('two', q(SELECT count(*) FROM generate_series(1, 2500) i, generate_series(1, 4) e, sync_apply(jsonb_build_object('source', 'S' || i, 'entity', 'e' || e, 'externalId', 's' || i, 'version', 1, 'a', i))));
is($node->safe_psql('two', q(SELECT sum(changes) FROM syncext.stat)), '10001', 'what has no room of its own is counted together');
is($node->safe_psql('two', q(SELECT count(*) > 0 FROM syncext.stat WHERE source = '')), 't', 'without a name');

$node->safe_psql('one', 'SELECT sync_stat_reset()');
is($node->safe_psql('one', $counted), '', 'a reset is of one database');
isnt($node->safe_psql('two', $counted), '', 'alone');
$node->restart;
is($node->safe_psql('two', $counted), '', 'they begin anew with the server');
is($node->safe_psql('two', 'SELECT since > now() - make_interval(hours => 1) FROM syncext.stat_info'), 't', 'and say since when');

# ---------- a standby ----------

$node->backup('now');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'now', has_streaming => 1);
# without shared memory of its own, where the views would read the table
$standby->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$standby->start;
$node->safe_psql('one', q(SELECT sync_apply('{"source":"CRM","externalId":"9","version":1,"a":1}')));
$node->wait_for_catchup($standby);
is($standby->safe_psql('one', 'SELECT place, unfolded IS NULL FROM syncext.stat_info'), 'primary|t', 'a standby has no counters');
is($standby->safe_psql('one', 'SELECT count(*) FROM syncext.stat, syncext.stat_target, syncext.stat_link'), '0', 'and says so without an error');
is($standby->safe_psql('one', q(SELECT count(*) > 0 FROM syncext.metric WHERE name LIKE 'syncext_lag%')), 't', 'what is no counter, it has');
$standby->promote;
$standby->safe_psql('one', q(SELECT sync_apply('{"source":"ERP","externalId":"9","version":1,"b":1}')));
is($standby->safe_psql('one', $counted), 'ERP record FIELD_MERGE 1 1', 'promoted, it begins to count');
$standby->stop;
$node->stop;

# ---------- the table ----------

my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->start;
$plain->safe_psql('postgres', q(CREATE EXTENSION syncext; SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2)));
my $place = $plain->safe_psql('postgres', 'SELECT place FROM syncext.stat_info');
my $new = $plain->safe_psql('postgres', 'SHOW server_version_num') >= 170000;
is($place, $new ? 'registry' : 'table', 'where nothing was loaded with the server');
my $connstr = $plain->connstr('postgres');
my $id = 0;

sub apply_sql { $id++; return qq(SELECT sync_apply('{"source":"CRM","externalId":"$id","version":1,"a":1}')->>'resolution') }

# How many changes has CRM, as another session sees it, once it is as many?
sub counts
{
	my ($n, $what) = @_;
	ok($plain->poll_query_until('postgres', qq(SELECT coalesce(sum(changes), 0) = $n FROM syncext.stat WHERE source = 'CRM')), $what);
}

# the first transaction of a session is written by its second one
my $locker = Session->new($connstr);
$locker->query('BEGIN; LOCK syncext.stat_row IN ACCESS EXCLUSIVE MODE');
my $writer = Session->new($connstr);
is($writer->query(apply_sql()), 'NEW_RECORD', 'while the table is locked') for 1 .. 3;
$locker->query('COMMIT');
$writer->quit;
counts(3, 'commits go on, and what they count comes later');

$plain->safe_psql('postgres', 'ALTER TABLE syncext.stat_row ADD CONSTRAINT never CHECK (false) NOT VALID');
$writer = Session->new($connstr);
is($writer->query(apply_sql()), 'NEW_RECORD', 'while nothing can be written') for 1 .. 3;
SKIP:
{
	skip 'counters are in shared memory', 1 if $new;
	like(slurp_file($plain->logfile), qr/LOG:  counters of changes could not be stored: .*never/, 'the log alone tells of it');
}
$plain->safe_psql('postgres', 'ALTER TABLE syncext.stat_row DROP CONSTRAINT never');
$writer->quit;
counts(6, 'and it comes when that is mended');

# the transaction that writes what others have counted may fail itself
my $counted = 6;
SKIP:
{
	# PL/pgSQL's, in a deferred trigger, is refused as ours is
	skip 'a server with assertions ends itself where a subtransaction fails in COMMIT', 2 if $plain->safe_psql('postgres', 'SHOW debug_assertions') eq 'on';
	my @serial = map { Session->new($connstr) } 1 .. 2;
	$_->query(apply_sql()) for @serial;
	$plain->safe_psql('postgres', 'CREATE TABLE skew (n int); INSERT INTO skew VALUES (1), (2)');
	$_->query('BEGIN ISOLATION LEVEL SERIALIZABLE') for @serial;
	$_->query('SELECT sum(n) FROM skew') for @serial;
	$serial[$_]->query("UPDATE skew SET n = n + 1 WHERE n = $_ + 1") for 0, 1;
	$_->query(apply_sql()) for @serial;
	$serial[0]->query('COMMIT');
	$serial[1]->send('COMMIT');
	like(($serial[1]->answer)[1], qr/could not serialize access/, 'one of two transactions fails at its commit');
	$_->quit for @serial;
	$counted += 3;
	counts($counted, 'and loses what it had counted alone');
}

# a session that is ended from outside
$writer = Session->new($connstr);
$writer->query(apply_sql());
$writer->query('BEGIN');
$writer->query(apply_sql());
$plain->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $writer->query('SELECT pg_backend_pid()') . ')');
counts($counted + 1, 'what a session has counted is there when it was terminated, and not what it had begun');

$plain->stop;
done_testing();
