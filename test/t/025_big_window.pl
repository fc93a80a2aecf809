# A window of more records than are remembered: each page is the same whoever asks for it,
# nothing that changed is missed, and the view says what is still to come.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $records = 125_000;	# more than batch.c remembers
my $page = 10_000;

my $node = PostgreSQL::Test::Cluster->new('hub');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nsyncext.retry_base = 1ms\n");
$node->start;
$node->safe_psql('postgres', <<"END_SQL");
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('Portal', 2), sync_add_entity('customer');
CREATE TABLE customer (id text PRIMARY KEY, name text);
SELECT sync_attach('customer', 'CRM', 'customer');
INSERT INTO customer SELECT k, 'first' FROM generate_series(1, $records - 11000) k;
UPDATE customer SET name = 'edit 0' WHERE id::integer % 1000 < 20;
INSERT INTO customer SELECT k, 'first' FROM generate_series($records - 10999, $records) k;
END_SQL

# These of the same window come when records begin to be forgotten, and after that.
for my $n (1 .. 3)
{
	$node->safe_psql('postgres', "UPDATE customer SET name = 'edit $n' WHERE id::integer % 1000 < 20 * $n");
}
my $last = $node->safe_psql('postgres', "SELECT count(*) FROM customer WHERE name LIKE 'edit%'");
cmp_ok($last, '>', 5_000, 'thousands of records are edited');

my @sessions = map { $node->background_psql('postgres') } 1 .. 2;
# the time-out is of each query, not of all of them
$_->set_query_timer_restart(1) for @sessions;

# The page that is due, as one of two sessions is told it.
sub page
{
	my ($session) = @_;
	return $session->query_safe(
		"SELECT batch, external_id, row_version, fields ->> 'name' FROM sync_pull('Portal', $page) ORDER BY external_id");
}

# How many records are still to come, and is anything forgotten?
sub waiting
{
	return split /\|/, $node->safe_psql('postgres', <<'	END_SQL');
	SELECT count(*), (SELECT forgotten_xid::text <> '0' FROM syncext.cursor WHERE target = 'Portal')
	FROM syncext.outbound_change WHERE target = 'Portal'
	END_SQL
}

my (%copy, %pages, @served, @waiting, @forgotten, %failed_at, $again);
my $different = my $early = 0;
for (my $turn = 0;; $turn++)
{
	my $rows = page($sessions[ $turn % 2 ]);
	if ($rows eq '')
	{
		# what failed may not be due yet
		last if !(waiting())[0] || $early++ == 100;
		$node->safe_psql('postgres', 'SELECT pg_sleep(0.1)');
		redo;
	}

	$different += grep { page($_) ne $rows } @sessions;
	my (@ids, @new);
	for (split /\n/, $rows)
	{
		my ($batch, $id, $version, $name) = split /\|/;
		push @ids, $id;
		if ($copy{$id}) { $again++ } else { push @new, $id }
		$copy{$id} = $name;
	}
	push @served, \@ids;
	my ($batch) = $rows =~ /^(\d+)/;
	# a new record of every other page fails, and comes again
	my $failed = '[]';
	if ($turn % 2 && @new)
	{
		$failed_at{ $new[0] } = $turn;
		$failed = "[{\"entity\":\"customer\",\"externalId\":\"$new[0]\",\"busy\":true}]";
	}
	$sessions[ int($turn / 2) % 2 ]->query_safe("SELECT sync_ack('Portal', $batch, '$failed')");
	my ($n, $forgotten) = waiting();
	push @waiting, $n;
	push @forgotten, $forgotten eq 't';
}

is($different, 0, 'who asks again is told the same page');
is(scalar(keys %copy), $records, 'every record comes');
is(scalar(grep { $copy{$_} ne ($_ % 1000 < 60 ? 'edit 3' : 'first') } keys %copy), 0, 'as it was edited last');
cmp_ok($again, '<=', $last + @served, 'only what changed after it was forgotten, or failed, comes again');
cmp_ok($again, '>', $last / 2, 'and does');

# Has a record failed up to a page, and not come again since?
sub is_owed
{
	my ($id, $n) = @_;
	my $failed = $failed_at{$id};
	return defined $failed && $failed <= $n && !grep { $_ > $failed && $_ <= $n } @{ $pages{$id} };
}

# What the view said after each page is what came after it.  Before anything is forgotten
# nothing that was served is to come again, but for what failed.
my (%later, @wrong);
for my $n (0 .. $#served)
{
	push @{ $pages{$_} }, $n for @{ $served[$n] };
}
for my $n (reverse 0 .. $#served)
{
	my $expected = $forgotten[$n] ? keys %later :
		grep { $pages{$_}[0] > $n || is_owed($_, $n) } keys %later;
	push @wrong, "after page $n: $waiting[$n], not $expected" if $waiting[$n] != $expected;
	$later{$_} = 1 for @{ $served[$n] };
}
ok((grep { $_ } @forgotten) && !$forgotten[0], 'what was served is forgotten on the way');
is(join("\n", @wrong), '', 'the view says how many are still to come');
is((waiting())[0], 0, 'none at the end');

cmp_ok($_->query_safe("SELECT coalesce(sum(total_bytes), 0) FROM pg_backend_memory_contexts WHERE name = 'syncext record set'"),
	'<', 40 * 1024 * 1024, 'a session remembers no more than it may') for @sessions;

$_->quit for @sessions;
$node->stop;
done_testing();
