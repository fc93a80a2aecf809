/*
 * cron.h
 *	  Cron expressions: what they mean, and when they are due next.
 */
#ifndef SYNCEXT_CRON_H
#define SYNCEXT_CRON_H

typedef struct CronSchedule
{
	int			seconds;		/* every so many; 0: what the fields say */
	uint64		minutes;		/* of each field the bits of what it names */
	uint32		hours;
	uint32		days;			/* 1 to 31 */
	uint32		months;			/* 1 to 12 */
	uint32		weekdays;		/* 0, Sunday, to 6 */
	bool		any_day;		/* the field begins with a star */
	bool		any_weekday;
	char	   *text;			/* as pg_cron takes it, one space between fields */
} CronSchedule;

/*
 * Read an expression: five fields, six that begin with 0 seconds, "@daily" and
 * its like, or "n seconds".  False, and what is wrong with it, if it is none.
 */
extern bool cron_parse(const char *expression, CronSchedule *schedule, char **problem);

/*
 * The first minute from this one on at which the fields say that it is due; both
 * count from 2000-01-01 00:00 of the schedule's time zone.
 */
extern int64 cron_next_minute(const CronSchedule *schedule, int64 minute);

#endif							/* SYNCEXT_CRON_H */
