# Session.pm
#	  psql at the other end of two pipes, for tests with several sessions: what is
#	  sent is answered when the test asks, so that many can be at work at once.

package Session;

use strict;
use warnings;

use IO::Select;
use IPC::Open3;
use PostgreSQL::Test::Utils;

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
	my $select = IO::Select->new($self->{out});

	for (;;)
	{
		return ($1, $2) if $self->{rest} =~ s/\A(.*?)^\Q$mark\E ?([^\n]*)\n//ms;
		$select->can_read($PostgreSQL::Test::Utils::timeout_default) or die "no answer\n";
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
