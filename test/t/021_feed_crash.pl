# The change feed and crashes: what a target was given is not lost, and a batch
# number means one batch.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('hub');
$node->init;
# Commits reach the disk when the test asks for it, not sooner.
$node->append_conf('postgresql.conf', <<'END_CONF');
fsync = off
synchronous_commit = off
wal_writer_delay = 10s
wal_writer_flush_after = 1GB
autovacuum = off
checkpoint_timeout = 1h
END_CONF
$node->start;
$node->safe_psql('postgres', <<'END_SQL');
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Portal', 3);
CREATE FUNCTION change(id text) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('source', 'CRM', 'externalId', $1, 'version', 1, 'name', $1)) ->> 'status'
$$;
SET synchronous_commit = on;
CREATE TABLE durable ();
END_SQL

sub crash
{
	$node->stop('immediate');
	$node->start;
}

# Without a flush a commit is lost, else the rest of this proves nothing.
$node->safe_psql('postgres', "SELECT change('lost')");
crash();
is($node->safe_psql('postgres', "SELECT count(*) FROM syncext.canonical"), 0,
	'an asynchronous commit that nobody has seen goes with the crash');

# A target has the rows before its own transaction has committed.
my $target = $node->background_psql('postgres');
$node->safe_psql('postgres', "SELECT change('seen')");
$target->query_safe('BEGIN');
is($target->query_safe("SELECT external_id FROM sync_pull('ERP')"), 'seen', 'the target is given a record');
crash();
eval { $target->quit };
is($node->safe_psql('postgres', 'SELECT external_id FROM syncext.canonical'), 'seen',
	'a record that a target was given survives the crash');
is($node->safe_psql('postgres', "SELECT external_id FROM sync_pull('ERP')"), 'seen',
	'and comes again, as its pull was not committed');

# The number of a batch that was served is not given to another one.
$node->safe_psql('postgres', "SELECT change('first')");
my $batch = $node->safe_psql('postgres', "SELECT DISTINCT batch FROM sync_pull('Portal')");
crash();
$node->safe_psql('postgres', "SELECT change('second')");
is($node->safe_psql('postgres', "SELECT batch, string_agg(external_id, ' ') FROM sync_pull('Portal') GROUP BY batch"),
	"$batch|first seen", 'the batch is still out, with its records alone');
$node->safe_psql('postgres', "SELECT sync_ack('Portal', $batch)");
is($node->safe_psql('postgres', "SELECT string_agg(external_id, ' ') FROM sync_pull('Portal')"), 'second',
	'and what came later comes in the next one');

# An acknowledgement may be lost: then the same batch comes again.
$batch = $node->safe_psql('postgres', "SELECT DISTINCT batch FROM sync_pull('Portal')");
$node->safe_psql('postgres', "SELECT sync_ack('Portal', $batch)");
crash();
is($node->safe_psql('postgres', "SELECT batch, external_id FROM sync_pull('Portal')"), "$batch|second",
	'a batch whose acknowledgement was lost comes again, under its number');
$node->safe_psql('postgres', "SELECT sync_ack('Portal', $batch)");

$node->stop;
done_testing();
