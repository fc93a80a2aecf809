/*
 * settings.h
 *	  The configuration parameters; defined and described in syncext.c.
 */
#ifndef SYNCEXT_SETTINGS_H
#define SYNCEXT_SETTINGS_H

extern int	setting_max_document;	/* kB, one change document */
extern int	setting_max_fields;		/* fields of one document */
extern int	setting_max_batch;		/* documents of one sync_apply */

#endif							/* SYNCEXT_SETTINGS_H */
