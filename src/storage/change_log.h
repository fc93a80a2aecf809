/*
 * change_log.h
 *	  The append-only change log: audit of what came in, and the outbound
 *	  queue, in one row a change (tables syncext.change_log_0 … _3).
 */
#ifndef SYNCEXT_CHANGE_LOG_H
#define SYNCEXT_CHANGE_LOG_H

#include "model/ladder.h"
#include "storage/rows.h"

typedef struct ChangeLog ChangeLog;

/* Columns of change_log_N; the view change_log shows them in another order. */
#define LOG_XID			1
#define LOG_SEQ			2
#define LOG_RECORDED_AT	3
#define LOG_VERSION		4			/* null: as row_version */
#define LOG_ROW_VERSION	5
#define LOG_BASE		6			/* or null, as the next */
#define LOG_UPDATED_AT	7
#define LOG_RESOLUTION	8
#define LOG_TOLD		9
#define LOG_ENTITY		10
#define LOG_EXTERNAL_ID	11
#define LOG_SOURCE		12
#define LOG_FIELDS		13
#define LOG_DETAIL		14
#define LOG_NCOLUMNS	14
#define LOG_NTABLES		4

typedef struct LogEntry
{
	const char *entity;
	const char *external_id;
	const char *source;
	int64		version;		/* the record's, after the change */
	int64		row_version;
	bool		has_base;
	int64		base;			/* the row version that the change was made on */
	bool		has_updated_at;
	TimestampTz updated_at;		/* when it was made, as its source said */
	Resolution	resolution;
	Audience	audience;
	Jsonb	   *fields;			/* what came in */
	Jsonb	   *detail;			/* what else counted; or NULL */
} LogEntry;

/*
 * Called for each row that is appended, before it is; process/wake sets it, to
 * wake at commit those that read the log.
 */
extern void (*change_log_hook) (const LogEntry *entry);

extern ChangeLog *change_log_open(int current_log);
extern void change_log_close(ChangeLog *log);
/*
 * Append a row, which is in the table by the time the log is closed.  Returns its seq, drawn
 * now: call it after the canonical write.
 */
extern int64 change_log_append(ChangeLog *log, const LogEntry *entry);

/* The same with a seq that was drawn before. */
extern int64 change_log_draw_seq(Oid sequence);
extern void change_log_append_drawn(ChangeLog *log, const LogEntry *entry, int64 seq);

#endif							/* SYNCEXT_CHANGE_LOG_H */
