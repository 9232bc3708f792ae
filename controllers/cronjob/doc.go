// Package cronjob makes Jobs on a schedule.
package cronjob
