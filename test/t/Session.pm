# Session.pm
#	  psql at the other end of two pipes, for tests with several sessions: what is
#	  sent is answered when the test asks, so that many can be at work at once.

package Session;

use strict;
use warnings;

use IO::Select;
use IPC::Open3;
use List::Util qw(max);
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time);

# The handles that have something, within so many seconds.  The end of another child is
# no end of the wait: PostgreSQL::Test::Utils handles SIGCHLD, which breaks a select off.
sub readable
{
	my ($timeout, @handles) = @_;
	my $end = time + $timeout;
	my $select = IO::Select->new(@handles);

	for (;;)
	{
		my @ready = $select->can_read(max(0, $end - time));
		return @ready if @ready || time >= $end;
	}
}

sub new
{
	my ($class, $connstr) = @_;
	my $self = bless { calls => 0, rest => '' }, $class;

	$self->{pid} = open3($self->{in}, $self->{out}, undef, 'psql', '-XAtq', '-d', $connstr);
	$self->{in}->autoflush(1);
	$self->query('SET client_min_messages = error');
	return $self;
}

sub send
{
	my ($self, $sql) = @_;
	my $mark = ++$self->{calls};

	print { $self->{in} } "\\set LAST_ERROR_MESSAGE\n$sql;\n\\echo ==$mark== :LAST_ERROR_MESSAGE\n";
}

# Returns what came, and what went wrong, if anything did.
sub answer
{
	my ($self) = @_;
	my $mark = "==$self->{calls}==";

	for (;;)
	{
		return ($1, $2) if $self->{rest} =~ s/\A(.*?)^\Q$mark\E ?([^\n]*)\n//ms;
		readable($PostgreSQL::Test::Utils::timeout_default, $self->{out}) or die "no answer\n";
		sysread($self->{out}, $self->{rest}, 65536, length $self->{rest}) or die "the session is gone: $self->{rest}\n";
	}
}

sub query
{
	my ($self, $sql) = @_;

	$self->send($sql);
	my ($out, $error) = $self->answer;
	die "$error in: $sql\n$out\n" if $error ne '';
	chomp $out;
	return $out;
}

sub quit
{
	my ($self) = @_;

	close $self->{in};
	waitpid $self->{pid}, 0;
}

1;
