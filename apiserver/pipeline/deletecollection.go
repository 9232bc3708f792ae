package pipeline

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/store"
)

// DefaultDeleteWorkers is how many objects of a collection are deleted at a time: what is written at the same time
// shares one sync of the log.
const DefaultDeleteWorkers = 16

// DeleteCollection deletes every object that which selects, and returns them as they were. After the first
// error no further deletion begins.
func (p *Pipeline) DeleteCollection(ctx context.Context, req *Request, o *metav1.DeleteOptions, which *metav1.ListOptions) (*List, error) {
	list, err := p.List(ctx, req, which)
	if err != nil {
		return nil, err
	}
	each := *req
	if req.Warn != nil {
		var mu sync.Mutex
		each.Warn = func(text string) {
			mu.Lock()
			defer mu.Unlock()
			req.Warn(text)
		}
	}
	workers, working := errgroup.WithContext(ctx)
	workers.SetLimit(p.deleteWorkers)
	for _, item := range list.Items {
		if working.Err() != nil {
			break
		}
		workers.Go(func() error { return p.deleteOne(working, each, item.Key, o.DeepCopy()) })
	}
	if err := workers.Wait(); err != nil {
		if p, ok := err.(*panicked); ok {
			panic(p) // where whoever serves the request expects it
		}
		return nil, err
	}
	return list, storeError(ctx.Err())
}

// deleteOne deletes one object of a collection; it may have gone in the meantime.
func (p *Pipeline) deleteOne(ctx context.Context, req Request, k store.Key, o *metav1.DeleteOptions) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &panicked{cause, debug.Stack()}
		}
	}()
	req.Namespace, req.Name, req.Unnamed = k.Namespace, k.Name, true
	if _, err := p.Delete(ctx, &req, o); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// A panicked carries a panic from one goroutine to another.
type panicked struct {
	cause any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("%v\n%s", p.cause, p.stack) }
