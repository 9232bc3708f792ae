// Package controllers runs the control loops that carry out what objects ask for: each package below holds
// one, with a pure plan that decides from values and a thin shell that acts. They watch and write through
// api.Client like everybody else.
//
// In the server process a successful write shows in every view before it returns. So a controller that
// reconciles one key at a time always sees its own earlier writes, and none of them keeps expectations or
// caches of what it has done. A client without that guarantee must not be given to RunAll.
package controllers

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"clipper/api"
	"clipper/api/record"
	"clipper/controllers/attachdetach"
	"clipper/controllers/bootstrapsigner"
	"clipper/controllers/complete"
	"clipper/controllers/cronjob"
	"clipper/controllers/daemonset"
	"clipper/controllers/deployment"
	"clipper/controllers/disruption"
	"clipper/controllers/endpoints"
	"clipper/controllers/endpointslice"
	"clipper/controllers/endpointslicemirroring"
	"clipper/controllers/ephemeral"
	"clipper/controllers/garbagecollector"
	"clipper/controllers/job"
	"clipper/controllers/legacytoken"
	"clipper/controllers/nodelifecycle"
	"clipper/controllers/persistentvolume"
	"clipper/controllers/podgc"
	"clipper/controllers/replicaset"
	"clipper/controllers/statefulset"
	"clipper/controllers/tainteviction"
	"clipper/controllers/volumeexpand"
)

// A Controller is a loop that works until ctx ends; it then returns nil.
type Controller interface {
	Run(ctx context.Context) error
}

// RunAll runs every controller until ctx ends or one fails. The client must also be able to list the
// resources there are; that of the server process is. held is the way to what extension servers hold, or nil.
func RunAll(ctx context.Context, client api.Client, held garbagecollector.Held) error {
	c, ok := client.(garbagecollector.Client)
	if !ok {
		return fmt.Errorf("run controllers: a client of type %T cannot list resources", client)
	}
	group, ctx := errgroup.WithContext(ctx)
	events := func(component string) *record.Recorder {
		r := record.New(c, component, "")
		group.Go(func() error { return ended(ctx, r.Run(ctx)) })
		return r
	}
	for _, ctl := range all(c, held, events) {
		group.Go(func() error { return ended(ctx, ctl.Run(ctx)) })
	}
	return group.Wait()
}

func all(c garbagecollector.Client, held garbagecollector.Held, events func(component string) *record.Recorder) []Controller {
	only := func() api.Client { return complete.Only(c) } // for those that conclude something from what is not there
	return []Controller{
		replicaset.New(only(), events("replicaset-controller")),
		replicaset.NewForReplicationControllers(only(), events("replication-controller")),
		deployment.New(only(), events(deployment.Component)),
		endpointslice.New(only(), events("endpoint-slice-controller")),
		endpointslicemirroring.New(only(), events("endpoint-slice-mirroring-controller")),
		endpoints.New(only()),
		garbagecollector.New(c, held),
		daemonset.New(only(), events("daemonset-controller")),
		statefulset.New(only(), events("statefulset-controller")),
		job.New(only(), events("job-controller")),
		cronjob.New(only(), events("cronjob-controller")),
		disruption.New(only(), events("controllermanager")),
		podgc.New(only()),
		persistentvolume.New(only(), events("persistentvolume-controller")),
		ephemeral.New(only(), events("ephemeral_volume")),
		attachdetach.New(only(), events("attachdetach-controller")),
		volumeexpand.New(c, events("volume_expand")),
		nodelifecycle.New(c, events("node-controller")),
		tainteviction.New(c, events("taint-eviction-controller")),
		bootstrapsigner.New(only()),
		legacytoken.New(only()),
	}
}

// ended drops the error that the end of ctx causes.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
