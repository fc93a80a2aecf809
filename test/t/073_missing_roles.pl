# 073_missing_roles.pl
#	  A dump that comes to where its roles are missing is whole: applications go on
#	  writing, sync_check says which roles are missing, and each comes into its
#	  rights when it is made.  Row versions of forgotten keys come along.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $config = q(SELECT 'source', name, role FROM syncext.source
	UNION ALL SELECT 'link', name, owner FROM syncext.link
	UNION ALL SELECT 'schedule', relation::text, role FROM syncext.schedule
	UNION ALL SELECT 'run', relation::text, role FROM syncext.job_run
	UNION ALL SELECT 'binding', attached_as, attached_by FROM syncext.binding
	ORDER BY 1, 2);
my $told = q(SELECT severity || ' ' || object || ': ' || problem FROM sync_check()
	WHERE problem ~ 'role .* does not exist' ORDER BY 1);

my $from = PostgreSQL::Test::Cluster->new('from');
$from->init;
$from->start;
$from->safe_psql('postgres', 'CREATE DATABASE hub');
$from->safe_psql('hub', q(
	CREATE EXTENSION syncext;
	CREATE EXTENSION postgres_fdw;
	CREATE ROLE shop LOGIN;
	CREATE ROLE crm LOGIN;
	CREATE ROLE linker LOGIN;
	SELECT sync_add_source('Shop', 1, 'shop'), sync_add_source('CRM', 2, 'crm'), sync_add_source('Up', 3, NULL);
	GRANT CREATE ON SCHEMA public TO shop;
	SET ROLE shop;
	CREATE TABLE goods (id text PRIMARY KEY, name text);
	SELECT sync_attach('goods', 'Shop');
	INSERT INTO goods VALUES ('G1', 'one'), ('G2', 'two');
	RESET ROLE;
	INSERT INTO syncext.schedule (relation, cron, job, role, name) VALUES ('goods', '0 3 * * *', 'deliver', 'shop', 'syncext: public.goods');
	INSERT INTO syncext.job_run (relation, job, status, started_at, role) VALUES ('goods', 'deliver', 'done', now(), 'shop');
	CREATE SERVER up FOREIGN DATA WRAPPER postgres_fdw;
	INSERT INTO syncext.link (name, server, source, owner, enabled, relay) VALUES ('up', 'up', 'Up', 'linker', false, true);
	UPDATE goods SET name = 'zwei' WHERE id = 'G2';
	UPDATE goods SET name = 'deux' WHERE id = 'G2';
	SELECT sync_forget('record', 'G2');
));
my $before = $from->safe_psql('hub', $config);
my $dump = $from->backup_dir . '.sql';
$from->command_ok([ 'pg_dump', '-h', $from->host, '-p', $from->port, '-f', $dump, 'hub' ], 'it is dumped');

my $to = PostgreSQL::Test::Cluster->new('to');
$to->init;
$to->start;
$to->safe_psql('postgres', 'CREATE DATABASE hub');
# what belongs to the roles, or is granted to them, can't come as it was
my ($out, $errors) = run_command([ 'psql', '-qX', '-f', $dump, $to->connstr('hub') ]);
my @other = grep { /ERROR:/ && !/role "(?:shop|crm|linker)" does not exist/ } split(/\n/, $errors);
is("@other", '', 'nothing but owners and grants is refused where the roles are missing');
is($to->safe_psql('hub', $config), $before, 'all that names a role has come');

$to->safe_psql('hub', q(INSERT INTO goods VALUES ('G3', 'three'); UPDATE goods SET name = 'uno' WHERE id = 'G1'));
is($to->safe_psql('hub', q(SELECT external_id, fields->>'name', last_source FROM syncext.canonical ORDER BY 1)),
	"G1|uno|Shop\nG3|three|Shop", 'an application goes on writing');
is($to->safe_psql('hub', $told), join("\n",
		'error schedule of public.goods: its role shop does not exist: it does not run',
		'info relation public.goods: role shop, which attached it, does not exist: its edits are sent all the same, by nobody\'s right',
		'warning source CRM: its role crm does not exist: administrators alone may act as it',
		'warning source Shop: its role shop does not exist: administrators alone may act as it'),
	'sync_check says which are missing');
is($to->safe_psql('hub', q(SELECT sync_apply('{"source": "Shop", "externalId": "G2", "version": 1, "name": "new"}')->>'rowVersion')),
	'4', 'the key of a record that was forgotten before goes on above it');

# the link's worker would run as nobody
$to->safe_psql('hub', q(UPDATE syncext.link SET enabled = true WHERE name = 'up'));
is($to->safe_psql('hub', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'syncext link')), '0',
	'a link whose role is missing has no worker');
like($to->safe_psql('hub', $told), qr/^error link up: its role linker does not exist: nothing is exchanged/m,
	'and sync_check says why');

my $crm = q(SET ROLE crm; SELECT sync_apply('{"source": "CRM", "externalId": "C1", "version": 1, "name": "x"}')->>'resolution');
$to->safe_psql('postgres', 'CREATE ROLE shop LOGIN; CREATE ROLE crm LOGIN; CREATE ROLE linker LOGIN');
is($to->safe_psql('hub', $crm), 'NEW_RECORD', 'a role that is made comes into its rights');
is($to->safe_psql('hub', $told), '', 'and nothing is missing any more');

done_testing();
