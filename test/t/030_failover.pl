# 030_failover.pl
#	  A standby serves no target, and says so, but can be watched.  Promoted, it
#	  goes on where the primary was: cursors, leases and retries are exact, and
#	  nobody starts anew.  New batches have numbers that the primary can't have given.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$primary->start;
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $node = $primary;

sub change
{
	my ($source, $id, $version, $value) = @_;
	$node->safe_psql('postgres',
		qq(SELECT sync_apply('{"source": "$source", "externalId": "$id", "version": $version, "value": "$value"}')));
}

# What a pull returns: records and the number of the batch, eN: the N-th behind the
# beginning of the epoch.
sub pull
{
	my ($source) = @_;
	return $node->safe_psql('postgres', qq(
		SELECT coalesce(string_agg(external_id || '=' || (fields->>'value'), ' ' ORDER BY external_id), ''),
			CASE WHEN max(batch) >= max(epoch) AND max(epoch) > 1 THEN 'e' || max(batch) - max(epoch) ELSE max(batch)::text END
		FROM sync_pull('$source')));
}

sub ack
{
	my ($source, $batch, $failed) = @_;
	$batch =~ s/^e/(SELECT epoch FROM syncext.feed_origin) + /;
	$node->safe_psql('postgres', "SELECT sync_ack('$source', $batch, '" . ($failed // '[]') . "')");
}

$primary->safe_psql('postgres', q(
	CREATE EXTENSION syncext;
	SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Shop', 3);
));
change('CRM', 'A', 1, 'one');
change('CRM', 'B', 1, 'one');
is(pull('ERP'), 'A=one B=one|1', 'the primary serves');
ack('ERP', 1, '[{"externalId": "B", "error": "no"}]');
change('CRM', 'A', 2, 'two');
# a transaction that the failover finds half done, and one that is prepared
$primary->safe_psql('postgres', q(
	BEGIN;
	SELECT sync_apply('{"source": "CRM", "externalId": "P", "version": 1, "value": "prepared"}');
	PREPARE TRANSACTION 'failover';
));
my $open = $primary->background_psql('postgres');
$open->query_safe('BEGIN');
$open->query_safe(q(SELECT sync_apply('{"source": "CRM", "externalId": "L", "version": 1, "value": "lost"}')));
is(pull('ERP'), 'A=two|2', 'a batch is out when the primary goes');

$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
# one with a batch out, one with something waiting, one with nothing, a slot
for my $pull (q(SELECT * FROM sync_pull('ERP')), q(SELECT * FROM sync_pull('Shop')), q(SELECT * FROM sync_pull('CRM')),
	q(SELECT * FROM sync_pull('Shop', 10, 1, 2)), q(SELECT sync_ack('ERP', 2)))
{
	my ($rc, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\n$pull");

	like($err, qr/ERROR:  25006: a standby does not serve targets\nHINT:  Pull from the primary; pg_is_in_recovery\(\) tells them apart\./,
		"a standby refuses: $pull");
	is($out, '', 'and returns nothing');
}
my $views = q(SELECT target, entity, external_id, state, row_version, batch FROM syncext.outbound_change ORDER BY 1, 2, 3;
	SELECT source, changes, retries, dead, backfill, lease_until FROM syncext.feed_lag ORDER BY 1);
my $seen = $primary->safe_psql('postgres', $views);
like($seen, qr/^ERP\|1\|1\|0\|/m, 'the primary shows how far its targets are');
is($standby->safe_psql('postgres', $views), $seen, 'and so does the standby');
my $rehearsal = q(SELECT count(*), count(DISTINCT external_id), md5(string_agg(r::text, '' ORDER BY r::text)) FROM sync_rehearse('record', '[]') r);
is($standby->safe_psql('postgres', $rehearsal), $primary->safe_psql('postgres', $rehearsal), '... and rehearses as the primary does');
my ($rc, $out, $err) = $standby->psql('postgres', q(CALL sync_maintain()));
like($err, qr/a standby cannot be maintained/, 'a standby refuses to be maintained');

$primary->stop('immediate');
$standby->promote;
$node = $standby;

is(pull('ERP'), 'A=two|2', 'the batch that was out comes again, under its number');
ack('ERP', 2);
is(pull('ERP'), '|', 'what was acknowledged does not come again');
is(pull('Shop'), 'A=two B=one|e0', 'another target gets what it had not');
ack('Shop', 'e0');
$node->safe_psql('postgres', q(COMMIT PREPARED 'failover'));
change('CRM', 'C', 1, 'after');
is(pull('ERP'), 'C=after P=prepared|e0', 'the feed goes on, with what was prepared before');
ack('ERP', 'e0');
$node->safe_psql('postgres', q(SELECT sync_redrive('ERP')));
is(pull('ERP'), 'B=one|e1', 'a delivery that failed is tried again');
ack('ERP', 'e1');
unlike($node->safe_psql('postgres', 'CALL sync_maintain()'), qr/incarnation|restarted": \["/,
	'nobody starts anew');
is($node->safe_psql('postgres', 'SELECT incarnation FROM syncext.feed_state'), '1', 'it is the same feed');
is(pull('ERP'), '|', 'nothing is left');

$node->stop;
eval { $open->quit };
done_testing();
