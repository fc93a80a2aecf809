/*
 * rfc3339.c
 *	  Times as documents and answers write them.
 */
#include "postgres.h"

#include "utils/datetime.h"

#include "model/rfc3339.h"

/* A time's text is shorter. */
#define MAX_FORMATTED	40

/* Read exactly n digits. */
static bool
digits(const char **p, const char *end, int n, int *result)
{
	*result = 0;
	for (int i = 0; i < n; i++, (*p)++)
	{
		if (*p >= end || **p < '0' || **p > '9')
			return false;
		*result = *result * 10 + (**p - '0');
	}
	return true;
}

static bool
character(const char **p, const char *end, const char *allowed)
{
	if (*p >= end || strchr(allowed, **p) == NULL)
		return false;
	(*p)++;
	return true;
}

/* The fraction of a second in microseconds, rounded; 0 where there is none. */
static bool
fraction(const char **p, const char *end, int *usec)
{
	int			scale = 1000000;

	*usec = 0;
	if (*p >= end || **p != '.')
		return true;
	(*p)++;
	if (*p >= end || **p < '0' || **p > '9')
		return false;
	for (; *p < end && **p >= '0' && **p <= '9'; (*p)++)
	{
		if (scale > 1)
			*usec += (**p - '0') * (scale /= 10);
		else if (scale == 1)
		{
			*usec += **p >= '5';
			scale = 0;
		}
	}
	return true;
}

/* Z or ±HH:MM, as seconds east of Greenwich. */
static bool
zone(const char **p, const char *end, int *offset)
{
	int			sign;
	int			hours;
	int			minutes;

	*offset = 0;
	if (character(p, end, "Zz"))
		return true;
	if (*p >= end || (**p != '+' && **p != '-'))
		return false;
	sign = *(*p)++ == '-' ? -1 : 1;
	if (!digits(p, end, 2, &hours) || !character(p, end, ":") || !digits(p, end, 2, &minutes))
		return false;
	*offset = sign * (hours * 3600 + minutes * 60);
	return hours <= 23 && minutes <= 59;
}

bool
rfc3339_can_be(TimestampTz time)
{
	return time >= (int64) (date2j(0, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY &&
		time < (int64) (date2j(10000, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
}

/*
 * Read an RFC 3339 time with its zone.  The server's own input function takes
 * much else ("tomorrow", a zone by name, none at all) that would depend on the
 * session, so it isn't asked.
 */
bool
rfc3339_parse(const char *text, int len, TimestampTz *result)
{
	const char *p = text;
	const char *end = text + len;
	int			year,
				month,
				day,
				hour,
				minute,
				second,
				usec,
				offset;

	if (!digits(&p, end, 4, &year) || !character(&p, end, "-") ||
		!digits(&p, end, 2, &month) || !character(&p, end, "-") ||
		!digits(&p, end, 2, &day) || !character(&p, end, "Tt ") ||
		!digits(&p, end, 2, &hour) || !character(&p, end, ":") ||
		!digits(&p, end, 2, &minute) || !character(&p, end, ":") ||
		!digits(&p, end, 2, &second) || !fraction(&p, end, &usec) ||
		!zone(&p, end, &offset) || p != end)
		return false;
	/* second 60 is a leap second, the last of a UTC day; it counts on into the next */
	if (second == 60 && ((hour * 60 + minute) * 60 - offset + SECS_PER_DAY) % SECS_PER_DAY !=
		SECS_PER_DAY - SECS_PER_MINUTE)
		return false;
	if (month < 1 || month > 12 || day < 1 || day > day_tab[isleap(year)][month - 1] ||
		hour > 23 || minute > 59 || second > 60)
		return false;
	*result = (int64) (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY +
		((hour * 60 + minute) * 60 + second - offset) * USECS_PER_SEC + usec;
	/* its zone may take it beyond these years */
	return rfc3339_can_be(*result);
}

static char *
format_time(TimestampTz time)
{
	int64		day = time / USECS_PER_DAY;
	int64		usec = time % USECS_PER_DAY;
	int			year,
				month,
				mday;
	int			second;
	char	   *text;

	if (TIMESTAMP_IS_NOBEGIN(time))
		return pstrdup("-infinity");
	if (TIMESTAMP_IS_NOEND(time))
		return pstrdup("infinity");
	if (usec < 0)
	{
		usec += USECS_PER_DAY;
		day--;
	}
	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	second = usec / USECS_PER_SEC;
	usec %= USECS_PER_SEC;
	text = psprintf("%04d-%02d-%02dT%02d:%02d:%02d", year, month, mday,
					second / 3600, second / 60 % 60, second % 60);
	if (usec != 0)
	{
		char	   *end;

		text = psprintf("%s.%06d", text, (int) usec);
		end = text + strlen(text);
		while (end[-1] == '0')
			*--end = '\0';
	}
	return psprintf("%sZ", text);
}

/*
 * Write a time in UTC, with as many digits of a second as it has.  A statement's changes have
 * the same one as a rule, so the last is kept.
 */
char *
rfc3339_format(TimestampTz time)
{
	static TimestampTz last_time;
	static char last_text[MAX_FORMATTED] = "";
	char	   *text;

	if (last_text[0] != '\0' && time == last_time)
		return pstrdup(last_text);
	text = format_time(time);
	strlcpy(last_text, text, sizeof(last_text));
	last_time = time;
	return text;
}
