# LyingHub.pm
#	  A server of a hub's that tells lies: speaks the protocol of PostgreSQL and
#	  of syncext's links as far as a link needs it, and breaks it where it is told.
#
# For the TAP tests of links.  A connection tells the truth, but for one answer,
# the place-th: that one is bent by a generator with the seed of the plan.

package LyingHub;

use strict;
use warnings;

use IO::Socket::UNIX;
use Socket qw(SOL_SOCKET SO_SNDBUF);
use JSON::PP qw(decode_json);
use POSIX ();

my $MARK = '11111111-2222-3333-4444-555555555555';
my $IDENTITY = qq("identity": {"mark": "$MARK", "ancestors": [], "system": "7", "database": 5, "timeline": 1, "epoch": 1,
	"host": "7", "directory": "7", "inode": "7"});

# Start one in a directory, at a port; returns it.
sub new
{
	my ($class, $dir, $port) = @_;
	my $self = bless { dir => $dir, port => $port, plan => "$dir/plan" }, $class;
	my $path = "$dir/.s.PGSQL.$port";
	my $listener = IO::Socket::UNIX->new(Type => SOCK_STREAM(), Local => $path, Listen => 20)
		or die "cannot listen at $path: $!\n";

	$self->tell_truth;
	defined($self->{pid} = fork) or die "cannot fork: $!\n";
	if ($self->{pid} == 0)
	{
		local $SIG{CHLD} = 'IGNORE';
		setpgrp(0, 0);
		while (1)
		{
			my $client = $listener->accept or next;
			my $pid = fork;
			if (defined $pid && $pid == 0)
			{
				$SIG{PIPE} = 'IGNORE';
				setsockopt($client, SOL_SOCKET, SO_SNDBUF, 64 * 1024);
				eval { serve($self, $client) };
				note_sent($self);
				POSIX::_exit(0);
			}
			close($client);
		}
	}
	close($listener);
	return $self;
}

sub stop
{
	my ($self) = @_;
	kill 'KILL', -$self->{pid} if $self->{pid};
	waitpid($self->{pid}, 0);
	delete $self->{pid};
	unlink "$self->{dir}/.s.PGSQL.$self->{port}";
}

# How many bytes a connection could send before it ended is left for others to see.
my $sent = 0;
sub note_sent
{
	my ($self) = @_;
	open(my $fh, '>', "$self->{dir}/sent.new") or return;
	print $fh $sent;
	close($fh);
	rename("$self->{dir}/sent.new", "$self->{dir}/sent");
}

# Returns how many the next connection to end could send, which do must make.
sub sent
{
	my ($self, $do) = @_;
	unlink "$self->{dir}/sent";
	$do->();
	for (my $tries = 0; !-e "$self->{dir}/sent"; $tries++)
	{
		die "no connection has ended\n" if $tries == 1800;
		select(undef, undef, undef, 0.1);
	}
	open(my $fh, '<', "$self->{dir}/sent") or die;
	return scalar <$fh>;
}

# What connections from now on do: bend the answer at a place, as seed says; or
# the lie of that name.
sub plan
{
	my ($self, $place, $seed, $lie) = @_;
	open(my $fh, '>', "$self->{plan}.new") or die "cannot write the plan: $!\n";
	print $fh join(' ', $place, $seed, $lie // ''), "\n";
	close($fh);
	rename("$self->{plan}.new", $self->{plan}) or die "cannot change the plan: $!\n";
}

sub tell_truth
{
	my ($self) = @_;
	$self->plan(-2, 0);
}

# ---------- messages ----------

sub message
{
	my ($type, $body) = @_;
	return $type . pack('N', length($body) + 4) . $body;
}

sub row_description
{
	my ($columns) = @_;
	return message('T', pack('n', $columns)
		. join('', map { "c$_\0" . pack('NnNnNn', 0, 0, 25, 65535, 4294967295, 0) } 1 .. $columns));
}

sub data_row
{
	return message('D', pack('n', scalar @_)
		. join('', map { defined $_ ? pack('N', length $_) . $_ : pack('N', 4294967295) } @_));
}

sub error
{
	my ($state, $text) = @_;
	return message('E', "SERROR\0VERROR\0C$state\0M$text\0\0");
}

sub rows_answer
{
	my ($columns, @rows) = @_;
	return (row_description($columns), (map { data_row(@$_) } @rows), message('C', "SELECT 1\0"));
}

# ---------- the truth ----------

# The rows that answer a call, in how many columns; columns 0: a command.
sub truth
{
	my ($state, $query, @params) = @_;

	return (0, []) if $query =~ /^LISTEN/;
	return (1, [ [4711] ]) if $query =~ /pg_backend_pid/;
	return (1, [ map { ['x'] } 1 .. 13 ]) if $query =~ /^SELECT pg_catalog\.set_config\(s\.name/;
	return (1, [ ['1s'] ]) if $query =~ /set_config/;
	return (3, [ [ '1.0', 'public', 't' ] ]) if $query =~ /extversion/;
	return (1, [ [ qq({"protocol": 2, "version": "1.0", "hub": "$MARK", "entities": ["item", "other"], $IDENTITY,
		"hub_is": "same", "spoke_is": "same", "refused": false, "hub_behind": false, "spoke_behind": false,
		"answered": 0, "pulled": 0, "now": 800000000000000}) ] ])
		if $query =~ /hub_hello/;
	return (1, [ [ '[' . join(',', map { 1 + int rand 1000 } @{ decode_json($params[2]) }) . ']' ] ])
		if $query =~ /sync_push/;
	if ($query =~ /hub_pull/)
	{
		my $n = $state->{pulls}++ ? 0 : 3;
		return (13, [ map { [ 7, 'item', "h$_", 1, 1 + int rand 1_000_000, 'f', '{"v": "x"}', 'f', undef, '1700000000000000', undef, undef, undef ] } 1 .. $n ]);
	}
	return (1, [ ['0'] ]) if $query =~ /hub_behind/;
	return (1, [ [''] ]);
}

# ---------- lies ----------

my $flood = 'x' x 100_000;

sub any { return $_[ int rand @_ ] }

sub garbage { return join '', map { chr int rand 256 } 1 .. 1 + int rand 200 }

# What to write into a column that isn't what belongs there.
sub odd_value
{
	return any(undef, '', 'null', '[]', '{}', '{"a":', '[1]', '"x"', '0', '-1', '9223372036854775807', '4611686018427387904',
		'99999999999999999999999', '1e400', 'NaN', 't', 'maybe', "a\xff\xfeb", "\xe2\x82", "a\0b", ' 7', '7x', garbage(),
		'[' x 100_000, '{"protocol": 2}', '{"protocol": 1e300}', '{"protocol": 2, "hub": 7, "entities": {}}',
		'[{"status": "x"}]', '[{"status": 500}]', '[{"status": 500, "sqlstate": "\u0001", "reason": 7}]', '[{"status": 200, "rowVersion": 1e30}]', '[-1]', '[1.5]', '{"a": "\ud800"}', '{"a": "\u0000"}', $flood);
}

my %lie = (
	no_row => sub { my ($columns, $rows) = @_; return rows_answer($columns) },
	more_rows => sub { my ($columns, $rows) = @_; return rows_answer($columns, (@$rows ? @$rows : [ ('1') x $columns ]) x (2 + int rand 3000)) },
	more_columns => sub { my ($columns, $rows) = @_; return rows_answer($columns + 1, map { [ @$_, 'x' ] } @$rows) },
	fewer_columns => sub { my ($columns, $rows) = @_; return rows_answer($columns - 1, map { [ @$_[ 1 .. $#$_ ] ] } @$rows) },
	many_columns => sub { return rows_answer(1500, [ ('x') x 1500 ]) },
	a_null => sub { my ($columns, $rows) = @_; return rows_answer($columns, [ (undef) x $columns ]) },
	odd_values => sub {
		my ($columns, $rows) = @_;
		my @bent = map { [@$_] } @$rows;
		@bent = ([ ('1') x $columns ]) if !@bent;
		for my $row (@bent) { $row->[ int rand $columns ] = odd_value() for 1 .. 1 + int rand 2 }
		return rows_answer($columns, @bent);
	},
	binary => sub { my ($columns) = @_; return (message('T', pack('n', 1) . "c\0" . pack('NnNnNn', 0, 0, 20, 8, 4294967295, 1)), data_row("\0\0\0\0\0\0\0\1"), message('C', "SELECT 1\0")) },
	command => sub { return message('C', "SELECT 1\0") },
	empty => sub { return message('I', '') },
	an_error => sub { return error(any('XX000', '57014', '57P01', '40001', '22P05', '00000', '01000', '?????', '', 'XX', '53200'),
		any('no', "\xff\xfe", 'y' x 100_000, "a\nb\tc", '%s%n', '')) },
	copy => sub { return message(any('G', 'H', 'W'), pack('Cn', 0, 0)) },
	out_of_turn => sub { return map { message(any('1', '2', '3', 'C', 'D', 'E', 'I', 'K', 'N', 'R', 'S', 'T', 'Z', 'n', 's', 't', 'v', chr(int rand 256)), garbage()) } 1 .. 3 },
	early_end => sub { return (message('Z', 'I')) x (1 + int rand 4) },
	bad_length => sub { return any('D', 'T', 'C', 'Z', 'E') . pack('N', any(0, 3, 4294967295, 2147483647)) },
	random_bytes => sub { return garbage() x 20 },
	notices => sub { return (message('N', "SNOTICE\0C00000\0M" . 'z' x 1000 . "\0\0")) x 2000 },
	hang => sub { return \'hang' },
	drop => sub { return \'drop' },
	half => sub { return (substr(data_row(('x') x 9), 0, 20), \'drop') },
	endless_rows => sub { my ($columns) = @_; return (row_description($columns), \data_row(($flood) x ($columns || 1))) },
	endless_message => sub { my ($columns) = @_; return (row_description($columns), 'D' . pack('N', 1_000_000_000), \$flood) },
	endless_notify => sub { return \message('A', pack('N', 1) . "syncext_feed\0" . 'p' x 7000 . "\0") },
	endless_settings => sub { return \(join '', map { message('S', "a.b$_\0" . 'v' x 5000 . "\0") } 1 .. 50) },
	endless_notices => sub { return \message('N', "SNOTICE\0C00000\0M" . 'z' x 20_000 . "\0\0") },
);

# Those that end by themselves at once come up more often.
my @slow = grep { /^endless|hang/ } sort keys %lie;
my @quick = grep { !/^endless|hang/ } sort keys %lie;

sub lies { return sort keys %lie }

# ---------- a connection ----------

sub put
{
	my ($client, @parts) = @_;

	for my $part (@parts)
	{
		if (!ref $part) { syswrite_all($client, $part); next }
		die "dropped\n" if $$part eq 'drop';
		if ($$part eq 'hang') { sleep 1000; die "hung\n" }
		syswrite_all($client, $$part) while 1;
	}
}

sub syswrite_all
{
	my ($client, $bytes) = @_;
	my $at = 0;

	while ($at < length $bytes)
	{
		my $n = syswrite($client, $bytes, length($bytes) - $at, $at);
		die "gone\n" if !defined $n;
		$at += $n;
		$sent += $n;
	}
}

sub get
{
	my ($client, $n) = @_;
	my $bytes = '';

	while (length $bytes < $n)
	{
		sysread($client, $bytes, $n - length $bytes, length $bytes) or die "gone\n";
	}
	return $bytes;
}

# The first packet; a request for encryption is refused, one to cancel hangs.
sub greet
{
	my ($client) = @_;

	while (1)
	{
		my $body = get($client, unpack('N', get($client, 4)) - 4);
		my $code = unpack('N', $body);

		if ($code == 80877103 || $code == 80877104) { put($client, 'N') }
		elsif ($code == 80877102) { put($client, \'hang') }
		else { return }
	}
}

sub read_bind
{
	my ($body) = @_;
	my ($portal, $name, $rest) = $body =~ /\A([^\0]*)\0([^\0]*)\0(.*)\z/s;
	my @formats = unpack('n/n', $rest);
	my $at = 2 + 2 * @formats;
	my $n = unpack('n', substr($rest, $at, 2));
	my @params;

	$at += 2;
	for (1 .. $n)
	{
		my $length = unpack('N', substr($rest, $at, 4));
		$at += 4;
		if ($length == 4294967295) { push @params, undef; next }
		push @params, substr($rest, $at, $length);
		$at += $length;
	}
	return ($name, @params);
}

# An answer, or what is told instead.
sub answer
{
	my ($state, $query, @params) = @_;
	my ($columns, $rows) = truth($state, $query, @params);

	return $columns > 0 ? rows_answer($columns, @$rows) : (message('n', ''), message('C', "DONE\0"))
		if $state->{answers}++ != $state->{place};
	my $name = $state->{lie} || (rand() < 0.03 ? any(@slow) : any(@quick));
	return $lie{$name}->($columns, $rows);
}

sub serve
{
	my ($self, $client) = @_;
	my %state = (answers => 0, pulls => 0);
	my (%prepared, $query, @params);

	open(my $fh, '<', $self->{plan}) or die;
	(@state{qw(place seed)}, $state{lie}) = split ' ', <$fh>;
	close($fh);
	srand($state{seed});
	if ($state{place} == -1)
	{
		put($client, $state{lie} ? $lie{ $state{lie} }->(1, []) :
			any(garbage(), \'drop', \'hang', message('R', pack('N', 99)), error('28000', "\xffno"),
				message('N', "SNOTICE\0C00000\0Mz\0\0") x 1000));
	}
	greet($client);
	put($client, message('R', pack('N', 0)), message('S', "server_version\00015.0\0"),
		message('S', "client_encoding\0UTF8\0"), message('K', pack('NN', 4711, 1)), message('Z', 'I'));
	while (1)
	{
		my $type = get($client, 1);
		my $body = get($client, unpack('N', get($client, 4)) - 4);

		if ($type eq 'P')
		{
			my ($name, $text) = split /\0/, $body;
			$prepared{$name} = $text;
			put($client, message('1', ''));
		}
		elsif ($type eq 'B')
		{
			(my $name, @params) = read_bind($body);
			$query = $prepared{$name};
			put($client, message('2', ''));
		}
		elsif ($type eq 'E') { put($client, answer(\%state, $query, @params)) }
		elsif ($type eq 'S') { put($client, message('Z', 'I')) }
		elsif ($type eq 'X') { return }
	}
}

1;
