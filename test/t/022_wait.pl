# 022_wait.pl
#	  sync_wait: a consumer is told at once, and waits without anything that others
#	  would have to wait for.
#
# All of it is done twice: where the server has loaded the library, so that who commits sets
# the latches, and where it hasn't, so that the notifier does.
#
# What is waited for comes within the test's own time, or the test fails; how long it
# takes is measured by test/bench alone.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Session;
use Test::More;

sub test_waiting
{
	my ($preloaded) = @_;

	my $node = PostgreSQL::Test::Cluster->new($preloaded ? 'preloaded' : 'hub');
	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'syncext'\n") if $preloaded;
	$node->append_conf('postgresql.conf', qq(
	autovacuum = off
	bgwriter_lru_maxpages = 0
	log_checkpoints = off
	full_page_writes = off
	checkpoint_timeout = 1h
	max_connections = 150
	max_prepared_transactions = 5
	));
	$node->start;
	$node->safe_psql('postgres', q(
		CREATE EXTENSION syncext;
		SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Web', 3);
		SELECT sync_add_entity('order'), sync_add_source('Shop', 4), sync_subscribe('Shop', '{order}');
		CREATE ROLE stranger;
		CREATE FUNCTION change(id text, version int) RETURNS text LANGUAGE sql AS $$
			SELECT sync_apply(jsonb_build_object('source', 'CRM', 'externalId', $1, 'version', $2, 'v', $2)) ->> 'resolution' $$;
	));

	my $connstr = $node->connstr('postgres');
	my $forever = "'1 h'";

	# Pulls and acknowledges all that there is; the end of a backfill is found by the pull after its last record's.
	my $hand = Session->new($connstr);
	my $take = sub {
		my ($source) = @_;

		$hand->query("SELECT sync_ack('$source', (SELECT batch FROM syncext.cursor WHERE target = '$source'))")
		  while $hand->query("SELECT count(*) FROM sync_pull('$source')") > 0;
	};

	# As told by a commit: sooner than it looks by itself.
	my $told = "'9 s'";

	# Waits until as many sessions wait in sync_wait, and look no more.
	my $all_wait = sub {
		my ($n) = @_;
		$node->poll_query_until('postgres', qq(SELECT count(*) = $n FROM pg_stat_activity
			WHERE query LIKE 'CALL sync_wait%' AND wait_event = 'Extension' AND backend_xmin IS NULL AND backend_xid IS NULL))
		  or die 'they do not wait';
	};

	# ---------- one ----------

	# a backfill is something to pull; nothing is not
	my $erp = Session->new($connstr);
	is($erp->query("CALL sync_wait('ERP', '0')"), 'f', 'nothing: not ready, and no wait with a timeout of 0');
	$node->safe_psql('postgres', "SELECT change('a', 1)");
	is($erp->query("CALL sync_wait('ERP', $forever)"), 't', 'what was committed before is there at once');
	is($erp->query("CALL sync_wait('ERP', $forever)"), 't', 'and as long as it was not pulled');
	is($erp->query("SELECT external_id FROM sync_pull('ERP')"), 'a', 'a pull finds it');
	is($erp->query("CALL sync_wait('ERP', $forever)"), 't', 'a batch that is out is something to pull: it comes again');
	$erp->query("SELECT sync_ack('ERP', (SELECT batch FROM syncext.cursor WHERE target = 'ERP'))");
	is($erp->query("CALL sync_wait('ERP', '100 ms')"), 'f', 'acknowledged, there is nothing more');

	# a commit ends the wait; a transaction that goes on, or that others alone are told of, doesn't
	$erp->send("CALL sync_wait('ERP', $told)");
	$all_wait->(1);
	is($node->safe_psql('postgres', q(
		SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE a.query LIKE 'CALL sync_wait%' AND a.wait_event = 'Extension' AND l.locktype <> 'virtualxid')),
		'0', 'it holds no lock meanwhile');
	my $writer = Session->new($connstr);
	$writer->query("BEGIN; SELECT change('b', 1)");
	$node->safe_psql('postgres', q(SELECT sync_apply('{"source":"ERP","externalId":"own","version":1,"v":1}')));
	$all_wait->(1);
	$writer->query('COMMIT');
	my ($out) = $erp->answer;
	is($out, "t\n", 'a commit is told at once');
	$take->('ERP');

	# a failed delivery comes again by time alone
	$node->safe_psql('postgres', "SELECT change('c', 1)");
	$erp->query('SET syncext.retry_base = 200');
	$erp->query("SELECT count(*) FROM sync_pull('ERP')");
	$erp->query(q(SELECT sync_ack('ERP', (SELECT batch FROM syncext.cursor WHERE target = 'ERP'), '[{"externalId":"c","error":"not now"}]')));
	is($erp->query("CALL sync_wait('ERP', $forever)"), 't', 'a retry that becomes due ends the wait');
	$take->('ERP');

	# of consumers side by side any one's records
	is($erp->query("SELECT count(*) FROM sync_pull('ERP', 1, 2, 3)"), '0', 'three slots, and nothing to pull');
	is($erp->query("CALL sync_wait('ERP', '0')"), 'f', 'so nothing to wait for');
	$node->safe_psql('postgres', "SELECT change('slot', i) FROM generate_series(1, 1) i");
	is($erp->query("CALL sync_wait('ERP', $forever)"), 't', 'any slot that has something ends the wait');
	$take->('ERP');

	# what ends by force
	$erp->send("CALL sync_wait('ERP', $forever)");
	$all_wait->(1);
	$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL sync_wait%' AND wait_event = 'Extension'));
	my (undef, $error) = $erp->answer;
	like($error, qr/canceling statement due to user request/, 'it can be cancelled');
	is($erp->query("CALL sync_wait('ERP', '0')"), 'f', 'and the session goes on');
	$erp->query("SET statement_timeout = '200ms'");
	$erp->send("CALL sync_wait('ERP', $forever)");
	(undef, $error) = $erp->answer;
	like($error, qr/statement timeout/, 'statement_timeout ends it');
	$erp->query('RESET statement_timeout');

	# ---------- what is refused ----------

	my $refused = sub {
		my ($sql, $said, $what) = @_;
		my ($rc, undef, $stderr) = $node->psql('postgres', $sql);
		like($stderr, $said, $what);
	};
	$refused->("BEGIN; CALL sync_wait('ERP', '0')", qr/cannot run inside a transaction block.*HINT:  Run CALL sync_wait\(…\) by itself/s, 'a transaction block');
	$refused->("SELECT 1 \\; CALL sync_wait('ERP', '0')", qr/cannot run inside a transaction block/, 'or several statements in one message');
	$refused->("CALL sync_wait('nobody', '0')", qr/source "nobody" does not exist/, 'a source that is none');
	$refused->("CALL sync_wait(NULL, '0')", qr/source must not be null/, 'no source');
	$refused->("CALL sync_wait('ERP', NULL)", qr/timeout must not be null/, 'no timeout');
	$refused->("CALL sync_wait('ERP', '-1 s')", qr/timeout must be from 0 to 1 hour/, 'a negative one');
	$refused->("CALL sync_wait('ERP', '2 h')", qr/timeout must be from 0 to 1 hour/, 'one that is too long');
	$refused->("SET ROLE stranger; CALL sync_wait('ERP', '0')", qr/permission denied to act as source "ERP"/, 'who may not act as the source');
	$refused->("SET ROLE stranger; SELECT sync_listen('nobody')", qr/permission denied to act as source "nobody"/, 'or listen');

	# in a procedure of one's own, between its transactions
	$node->safe_psql('postgres', q(
		CREATE PROCEDURE consume(OUT n int) LANGUAGE plpgsql AS $$
		DECLARE
			ready boolean;
			b bigint;
		BEGIN
			CALL sync_wait('Web', '1 h', ready);
			SELECT count(*), max(p.batch) INTO n, b FROM sync_pull('Web') p;
			PERFORM sync_ack('Web', b);
			COMMIT;
		END $$));
	is($node->safe_psql('postgres', 'CALL consume(NULL)'), '5', 'a procedure waits, pulls and acknowledges');

	# ---------- two-phase commit ----------

	# a session without the library sets no latch: the notifier looks
	$erp->send("CALL sync_wait('ERP', $told)");
	$all_wait->(1);
	$node->safe_psql('postgres', "BEGIN; SELECT change('d', 1); PREPARE TRANSACTION 'p'");
	$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
	($out) = $erp->answer;
	is($out, "t\n", 'COMMIT PREPARED is found, too');
	$take->('ERP');

	# ---------- the notifier ----------

	# what ended a moment ago may be there still
	my $n = $preloaded ? 0 : 1;
	ok($node->poll_query_until('postgres', qq(SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'syncext notifier') = $n
			AND (SELECT count(*) FROM syncext.listener) = $n)),
		$preloaded ? 'who waits needs no notifier, and writes nothing' : 'who waits has a notifier');

	# it is killed: another one comes, and who waits is told
	$erp->send("CALL sync_wait('ERP', $forever)");
	$all_wait->(1);
	$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'syncext notifier'));
	$node->safe_psql('postgres', "SELECT change('d', 2)");
	($out) = $erp->answer;
	is($out, "t\n", 'without a notifier it looks by itself');
	$take->('ERP');

	# ---------- a commit at any moment ----------

	# the consumer is stopped wherever it is: about to look, looking, about to sleep, asleep
	my $pid = $erp->query('SELECT pg_backend_pid()');
	my $late = 0;
	for my $i (1 .. 40)
	{
		$erp->send("CALL sync_wait('ERP', $told)");
		select(undef, undef, undef, 0.0002 * ($i % 20));
		kill 'STOP', $pid;
		$writer->query("SELECT change('moment', $i)");
		kill 'CONT', $pid;
		($out) = $erp->answer;
		$late++ if $out ne "t\n";
		$take->('ERP');
	}
	is($late, 0, 'whenever it is committed, who waits is told');

	# the same, in a row and without a stop, by two writers
	my @writers = map { Session->new($connstr) } 1 .. 2;
	$writers[$_]->send("DO \$\$ BEGIN FOR i IN 1 .. 100 LOOP PERFORM change('row$_', i); COMMIT; PERFORM pg_sleep(random() * 0.003); END LOOP; END \$\$") for 0 .. 1;
	my ($sum, $waits) = (0, 0);
	while ($sum < 200 && $waits < 500)
	{
		$waits++;
		last if $erp->query("CALL sync_wait('ERP', $told)") ne 't';
		$take->('ERP');
		$sum = $hand->query("SELECT sum(version) FROM syncext.canonical WHERE external_id LIKE 'row_'") || 0;
	}
	is($sum, 200, 'and nothing that comes one after the other is missed');
	$_->quit for @writers;
	$take->('ERP');

	# ---------- what concerns whom ----------

	my $shop = Session->new($connstr);
	$shop->query("SELECT count(*) FROM sync_pull('Shop')");
	$shop->query("SELECT count(*) FROM sync_pull('Shop')");
	$shop->send("CALL sync_wait('Shop', $told)");
	$all_wait->(1);
	$node->safe_psql('postgres', "SELECT count(change('other', i)) FROM generate_series(1, 10) i");
	$all_wait->(1);
	$node->safe_psql('postgres', q(SELECT sync_apply('{"source":"CRM","entity":"order","externalId":"1","version":1,"v":1}')));
	($out) = $shop->answer;
	is($out, "t\n", 'what the source has subscribed to is told');
	$take->('Shop');

	# a subscription that comes while it waits
	$shop->send("CALL sync_wait('Shop', $forever)");
	$all_wait->(1);
	$node->safe_psql('postgres', "SELECT sync_subscribe('Shop', '{order,record}')");
	($out) = $shop->answer;
	is($out, "t\n", 'a subscription is heeded while it waits');
	$take->('Shop');
	$shop->quit;

	# what was dead comes again, and a walk through everything begins, at somebody's word
	$take->('ERP');
	$erp->query("UPDATE syncext.source SET retry_cap = 1 WHERE name = 'ERP'");
	$node->safe_psql('postgres', "SELECT change('dead', 1)");
	$erp->query("SELECT count(*) FROM sync_pull('ERP')");
	$erp->query(q(SELECT sync_ack('ERP', (SELECT batch FROM syncext.cursor WHERE target = 'ERP'), '[{"externalId":"dead","error":"never"}]')));
	$take->('ERP');
	for my $call ("sync_redrive('ERP')", "sync_resync('ERP')")
	{
		$erp->send("CALL sync_wait('ERP', $told)");
		$all_wait->(1);
		$node->safe_psql('postgres', "SELECT $call");
		($out) = $erp->answer;
		is($out, "t\n", "$call is told");
		$take->('ERP');
	}

	# ---------- many on one ----------

	my @same = map { Session->new($connstr) } 1 .. 10;
	$_->send("CALL sync_wait('ERP', $told)") for @same;
	$all_wait->(10);
	$node->safe_psql('postgres', "SELECT change('same', 1)");
	is(scalar(grep { $_ eq "t\n" } map { ($_->answer)[0] } @same), 10, 'all that wait for one source are told');
	$_->quit for @same;
	$take->('ERP');

	# ---------- who leaves ----------

	# sessions that end in it, however they do, leave a place for others
	for my $round (1 .. 3)
	{
		my @gone = map { Session->new($connstr) } 1 .. 5;
		$_->send("CALL sync_wait('ERP', $forever)") for @gone;
		$all_wait->(5);
		$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE query LIKE 'CALL sync_wait%' AND wait_event = 'Extension'));
		$_->quit for @gone;
	}
	$erp->send("CALL sync_wait('ERP', $forever)");
	$all_wait->(1);
	$node->safe_psql('postgres', "SELECT sync_drop_source('ERP')");
	(undef, $error) = $erp->answer;
	like($error, qr/source "ERP" does not exist/, 'a source that is dropped ends the wait');
	$node->safe_psql('postgres', "SELECT sync_add_source('ERP', 2)");

	# ---------- who listens ----------

	my $listener = Session->new($connstr);
	$listener->query('LISTEN syncext_feed');
	$listener->query("SELECT sync_listen('Web')");
	$node->safe_psql('postgres', "SELECT change('e', 1)");
	my $notified = '';
	for (my $i = 0; $i < 10 * $PostgreSQL::Test::Utils::timeout_default && $notified !~ /syncext_feed/; $i++)
	{
		$notified .= $listener->query('SELECT pg_sleep(0.1)');
	}
	like($notified, qr/Asynchronous notification "syncext_feed"/, 'sync_listen: a commit is notified');
	$listener->quit;

	# ---------- a hundred ----------

	$node->safe_psql('postgres', "SELECT sync_add_source('S' || i) FROM generate_series(1, 100) i");
	my @waiting = map { Session->new($connstr) } 1 .. 100;
	for my $i (1 .. 100)
	{
		$take->("S$i");
		# the call that registers the session is the one that writes
		$waiting[$i - 1]->query("CALL sync_wait('S$i', '0')");
	}
	$waiting[$_ - 1]->send("CALL sync_wait('S$_', $forever)") for 1 .. 100;
	$all_wait->(100);
	my $before = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	$node->safe_psql('postgres', 'SELECT pg_sleep(3)');
	# the server itself writes a snapshot for standbys now and then, and tidies pages that are read
	cmp_ok($node->safe_psql('postgres', "SELECT pg_current_wal_insert_lsn() - '$before'"), '<', 1000, 'a hundred that wait write no WAL');
	is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CALL sync_wait%' AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL))),
		'0', 'and hold no xmin back');
	$node->safe_psql('postgres', "SELECT change('f', 1)");
	my @told = map { ($_->answer)[0] } @waiting;
	is(scalar(grep { $_ eq "t\n" } @told), 100, 'all of them are told');
	$_->quit for @waiting, $erp, $writer;

	$node->stop;
}

subtest "$_" => sub { test_waiting($_ eq 'preloaded') } for 'not preloaded', 'preloaded';
done_testing();
