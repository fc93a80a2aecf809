/*
 * settings.h
 *	  The configuration parameters; defined and described in syncext.c.
 */
#ifndef SYNCEXT_SETTINGS_H
#define SYNCEXT_SETTINGS_H

extern int	setting_max_document;	/* kB, one change document */
extern int	setting_max_fields;		/* fields of one document */
extern int	setting_max_batch;		/* documents of one sync_apply */
extern char *setting_inbound;	/* whose edits are deliveries: local/capture.h */
extern int	setting_lock_timeout;	/* ms that delivery waits for rows of others */

extern int	setting_waiting_retry;	/* ms, first attempt of a parked change */
extern int	setting_waiting_max;	/* s, until it is a dead letter */

#endif							/* SYNCEXT_SETTINGS_H */
