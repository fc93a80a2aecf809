/*
 * settings.h
 *	  The configuration parameters; defined and described in syncext.c.
 */
#ifndef SYNCEXT_SETTINGS_H
#define SYNCEXT_SETTINGS_H

extern int	setting_max_document;	/* kB, one change document */
extern int	setting_max_fields;		/* fields of one document */
extern int	setting_max_depth;		/* levels of nesting in one document */
extern int	setting_max_record;		/* kB, the fields of one record */
extern int	setting_max_record_fields;
extern double setting_max_version_step;	/* 0: any */
extern int	setting_max_conflicts;	/* pending, of a source on a record */
extern int	setting_max_parked;		/* of a source on a record, or for a parent */
extern int	setting_max_batch;		/* documents of one sync_apply */
extern bool setting_track_counts;	/* process/stat counts */
extern char *setting_inbound;	/* whose edits are deliveries: local/capture.h */
extern int	setting_lock_timeout;	/* ms that delivery waits for rows of others */

extern int	setting_poll_overlap;	/* s before the watermark that are read again */
extern int	setting_poll_batch; /* rows that a poll takes in one transaction */
extern int	setting_poll_delete_limit;	/* percent of the rows that may vanish at once */

extern int	setting_waiting_retry;	/* ms, first attempt of a parked change */
extern int	setting_waiting_max;	/* s, until it is a dead letter */
extern int	setting_max_records;	/* of one sync_pull */
extern int	setting_lease;		/* s, how long a batch is its consumer's */
extern int	setting_retry_base; /* ms, until a failed delivery is tried again */
extern int	setting_retry_max;	/* ms, however often it has failed */

extern int	setting_max_clock_skew; /* s, that a source's clock may be ahead; -1: any */

extern int	setting_retention;	/* s, how long the log, conflicts, tombstones stay */
extern int	setting_maintain_lock_timeout;	/* ms, until maintenance leaves it for later */

extern int	setting_link_batch; /* changes or records that a link sends at once */
extern int	setting_link_batch_bytes;	/* of a batch, either way */
extern int	setting_link_timeout;	/* s, that a link waits for its hub */

extern int	setting_link_interval;	/* s, between exchanges when nothing else tells */
extern int	setting_notify_interval;	/* ms, between two NOTIFY at least */

#define LINK_BATCH_BYTES_MIN	(64 * 1024)
#define LINK_BATCH_BYTES_MAX	(32 * 1024 * 1024)

#endif							/* SYNCEXT_SETTINGS_H */
