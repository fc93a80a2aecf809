/*
 * cron.c
 *	  Cron expressions: what they mean, and when they are due next.
 *
 * Pure: it knows neither time zones nor what the clock says.  The fields mean
 * what they mean to pg_cron, which has them from Vixie's cron: a step goes with
 * a star or a range only; 7 is Sunday, too; where neither day nor weekday
 * begins with a star, either of them will do.
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/datetime.h"

#include "local/cron.h"

#define MAX_FIELDS	8
#define DAY_MINUTES	1440
/* 29 February falls on a certain weekday every 40 years at least. */
#define MAX_DAYS	(41 * 366)

typedef struct FieldKind
{
	const char *name;
	int			low;
	int			high;
	const char *const *names;	/* of low and those after it; or NULL */
} FieldKind;

static const char *const month_names[] = {
	"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL
};
static const char *const weekday_names[] = {
	"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL
};
static const FieldKind field_kinds[] = {
	{"minute", 0, 59, NULL},
	{"hour", 0, 23, NULL},
	{"day", 1, 31, NULL},
	{"month", 1, 12, month_names},
	{"weekday", 0, 7, weekday_names},
};

static const struct
{
	const char *name;
	const char *fields;
}			shorthands[] = {
	{"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
	{"@monthly", "0 0 1 * *"},
	{"@weekly", "0 0 * * 0"},
	{"@daily", "0 0 * * *"},
	{"@midnight", "0 0 * * *"},
	{"@hourly", "0 * * * *"},
};

/* ---------- fields ---------- */

/* Read digits, or one of the field's names; *at moves behind them. */
static bool
read_value(const FieldKind *kind, const char **at, int *value)
{
	const char *begin = *at;
	int			length;

	while (isalnum((unsigned char) **at))
		(*at)++;
	length = *at - begin;
	if (length > 0 && length <= 9 && (int) strspn(begin, "0123456789") >= length)
	{
		*value = atoi(begin);
		return true;
	}
	for (int i = 0; kind->names != NULL && kind->names[i] != NULL; i++)
	{
		if (length == 3 && pg_strncasecmp(begin, kind->names[i], 3) == 0)
		{
			*value = kind->low + i;
			return true;
		}
	}
	return false;
}

/* Read "*", "value" or "value-value"; *single: nothing that a step could go with. */
static bool
read_range(const FieldKind *kind, const char **at, int *from, int *to, bool *single)
{
	*single = false;
	if (**at == '*')
	{
		(*at)++;
		*from = kind->low;
		*to = kind->high;
		return true;
	}
	if (!read_value(kind, at, from))
		return false;
	*to = *from;
	*single = **at != '-';
	if (*single)
		return true;
	(*at)++;
	return read_value(kind, at, to);
}

/* Add what one item of a list names; false, and why, if it is wrong. */
static bool
read_item(const FieldKind *kind, const char **at, uint64 *bits, char **problem)
{
	const char *begin = *at;
	FieldKind	plain = {kind->name, 1, kind->high, NULL};
	int			from,
				to;
	int			step = 1;
	bool		single;
	bool		good = read_range(kind, at, &from, &to, &single);

	if (good && !single && **at == '/')
	{
		(*at)++;
		good = read_value(&plain, at, &step) && step > 0;
	}
	if (!good || (**at != ',' && **at != '\0'))
	{
		*problem = psprintf("its %s \"%s\" is not understood", kind->name,
							pnstrdup(begin, strcspn(begin, ",")));
		return false;
	}
	if (from < kind->low || to > kind->high || from > to)
	{
		*problem = psprintf("its %s \"%s\" is no range within %d and %d", kind->name,
							pnstrdup(begin, *at - begin), kind->low, kind->high);
		return false;
	}
	for (int i = from; i <= to; i += step)
		*bits |= UINT64CONST(1) << i;
	return true;
}

static bool
read_field(const FieldKind *kind, const char *field, uint64 *bits, char **problem)
{
	*bits = 0;
	for (;; field++)
	{
		if (!read_item(kind, &field, bits, problem))
			return false;
		if (*field == '\0')
			return true;
	}
}

/* ---------- expressions ---------- */

/* Cut the expression at white space, in place; returns how many fields it has. */
static int
split(char *text, char **fields)
{
	char	   *rest = text;
	char	   *field;
	int			n = 0;

	while (n < MAX_FIELDS && (field = strtok_r(rest, " \t\n\r", &rest)) != NULL)
		fields[n++] = field;
	return n;
}

/* "30 seconds" */
static bool
read_seconds(char **fields, int n, CronSchedule *schedule, char **problem)
{
	if (n != 2 || (pg_strcasecmp(fields[1], "seconds") != 0 && pg_strcasecmp(fields[1], "second") != 0))
		return false;
	schedule->seconds = strspn(fields[0], "0123456789") == strlen(fields[0]) && strlen(fields[0]) <= 4
		? atoi(fields[0]) : 0;
	if (schedule->seconds < 1 || schedule->seconds > 59)
	{
		schedule->seconds = 0;
		*problem = psprintf("its seconds are not within 1 and 59");
	}
	else
		schedule->text = psprintf("%d seconds", schedule->seconds);
	return true;
}

/* What is wrong with the number of fields, if something is.  *first: where they begin. */
static char *
check_count(char **fields, int n, int *first)
{
	*first = 0;
	if (n == 5)
		return NULL;
	if (n != 6)
		return psprintf("it has %s%d field%s instead of five", n == MAX_FIELDS ? "at least " : "",
						n, n == 1 ? "" : "s");
	*first = 1;
	if (strspn(fields[0], "0") == strlen(fields[0]))
		return NULL;
	return psprintf("the first of its six fields, the second, is \"%s\" and not 0", fields[0]);
}

static bool
is_ever_due(const CronSchedule *s)
{
	static const int longest[] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (!s->any_day && !s->any_weekday)
		return true;
	for (int month = 1; month <= 12; month++)
		for (int day = 1; day <= longest[month]; day++)
			if ((s->months & (1 << month)) && (s->days & (UINT32_C(1) << day)))
				return true;
	return false;
}

static bool
read_fields(char **field, CronSchedule *schedule, char **problem)
{
	uint64		bits[lengthof(field_kinds)];

	for (size_t i = 0; i < lengthof(field_kinds); i++)
		if (!read_field(&field_kinds[i], field[i], &bits[i], problem))
			return false;
	schedule->minutes = bits[0];
	schedule->hours = (uint32) bits[1];
	schedule->days = (uint32) bits[2];
	schedule->months = (uint32) bits[3];
	schedule->weekdays = (uint32) ((bits[4] | bits[4] >> 7) & 0x7F);
	schedule->any_day = field[2][0] == '*';
	schedule->any_weekday = field[4][0] == '*';
	schedule->text = psprintf("%s %s %s %s %s", field[0], field[1], field[2], field[3], field[4]);
	if (!is_ever_due(schedule))
		*problem = pstrdup("there is no such day");
	return *problem == NULL;
}

bool
cron_parse(const char *expression, CronSchedule *schedule, char **problem)
{
	char	   *text = pstrdup(expression);
	char	   *fields[MAX_FIELDS];
	int			n = split(text, fields);
	int			first;

	memset(schedule, 0, sizeof(CronSchedule));
	*problem = NULL;
	if (n == 1 && fields[0][0] == '@')
	{
		for (size_t i = 0; i < lengthof(shorthands); i++)
			if (pg_strcasecmp(fields[0], shorthands[i].name) == 0)
				return cron_parse(shorthands[i].fields, schedule, problem);
		*problem = psprintf("\"%s\" is not known", fields[0]);
		return false;
	}
	if (read_seconds(fields, n, schedule, problem))
		return *problem == NULL;
	*problem = check_count(fields, n, &first);
	return *problem == NULL && read_fields(fields + first, schedule, problem);
}

/* ---------- time ---------- */

static bool
day_matches(const CronSchedule *s, int julian, int month, int day)
{
	bool		by_day = (s->days & (UINT32_C(1) << day)) != 0;
	bool		by_weekday = (s->weekdays & (1 << j2day(julian))) != 0;

	if (!(s->months & (1 << month)))
		return false;
	return s->any_day || s->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

/* The first minute of a day, from this one on, that hours and minutes name; -1: none. */
static int
first_in_day(const CronSchedule *s, int minute)
{
	for (; minute < DAY_MINUTES; minute++)
		if ((s->hours & (1 << minute / 60)) && (s->minutes & (UINT64CONST(1) << minute % 60)))
			return minute;
	return -1;
}

int64
cron_next_minute(const CronSchedule *s, int64 minute)
{
	int64		days = minute >= 0 ? minute / DAY_MINUTES : -((DAY_MINUTES - 1 - minute) / DAY_MINUTES);
	int			from = (int) (minute - days * DAY_MINUTES);

	for (int64 last = days + MAX_DAYS; days <= last; days++, from = 0)
	{
		int			julian = (int) days + POSTGRES_EPOCH_JDATE;
		int			year,
					month,
					day,
					found;

		j2date(julian, &year, &month, &day);
		if (day_matches(s, julian, month, day) && (found = first_in_day(s, from)) >= 0)
			return days * DAY_MINUTES + found;
	}
	elog(ERROR, "cron expression \"%s\" is never due", s->text);
}
