# 032_cron.pl
#	  Maintenance from pg_cron, as doc/operations.md says, with the real pg_cron.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hub');
$node->init;
plan skip_all => 'pg_cron is not installed (Debian: postgresql-15-cron)'
	unless -e $node->config_data('--pkglibdir') . '/pg_cron.so';

$node->append_conf('postgresql.conf', qq(
shared_preload_libraries = 'pg_cron'
cron.database_name = 'postgres'
cron.use_background_workers = on
max_worker_processes = 20
));
$node->start;
$node->safe_psql('postgres', q(
	CREATE EXTENSION syncext;
	SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2);
	SELECT sync_apply('{"source": "CRM", "externalId": "A", "version": 1, "x": 1}');
	ALTER DATABASE postgres SET syncext.retention = 0;
));

# the lines of doc/operations.md
$node->safe_psql('postgres', q(
	CREATE EXTENSION pg_cron;
	SELECT cron.schedule('syncext', '*/10 * * * *', 'CALL sync_maintain()');
));
# pg_cron 1.4 knows no seconds: let it be every minute, and wait for it
$node->safe_psql('postgres', q(UPDATE cron.job SET schedule = '* * * * *'));
ok($node->poll_query_until('postgres', 'SELECT current_log = 1 FROM syncext.feed_state'),
	'pg_cron has run it: the log is rotated');
ok($node->poll_query_until('postgres', q(SELECT bool_and(status = 'succeeded') FROM cron.job_run_details)),
	'and says that it succeeded');
is($node->safe_psql('postgres', 'SELECT DISTINCT command FROM cron.job_run_details'), 'CALL sync_maintain()',
	'by the documented command');
$node->stop;
done_testing();
