# 063_convergence.pl
#	  Random edits on all nodes at once, while links are cut and mended at random: a
#	  hub with two leaves, and with a relay, which is a hub of its own and a spoke.
#	  What is edited, and how it is judged, stands in Convergence.pm.
#
# CONVERGENCE_SEED repeats a dice (but not who was faster); CONVERGENCE_ROUNDS is
# how long it is thrown.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Convergence;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{CONVERGENCE_SEED} // int(time * 1000) % 1_000_000_000;
my $rounds = $ENV{CONVERGENCE_ROUNDS} || 60;
srand($seed);
diag("CONVERGENCE_SEED=$seed CONVERGENCE_ROUNDS=$rounds");

my %node;
for my $name (qw(hub east west relay))
{
	$node{$name} = PostgreSQL::Test::Cluster->new($name);
	$node{$name}->init;
	$node{$name}->append_conf('postgresql.conf', <<'END');
fsync = off
max_connections = 20
deadlock_timeout = 50ms
syncext.retry_base = 100
syncext.retry_max = 1s
END
	$node{$name}->start;
}

my $tree = Convergence->new(
	[ 'hub', $node{hub}->connstr('postgres'), undef, undef, 'Desk' ],
	[ 'east', $node{east}->connstr('postgres'), 'hub', 'East' ],
	[ 'west', $node{west}->connstr('postgres'), 'hub', 'West' ],
	[ 'relay', $node{relay}->connstr('postgres'), 'hub', 'Relay', 'Counter' ]);
$tree->storm($rounds);
$tree->judge;
$tree->quit;

$_->stop for values %node;
done_testing();
