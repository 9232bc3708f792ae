// Package stream turns what the streaming library has of an exec or attach into the runtime's terms.
package stream

import (
	"context"
	"io"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"clipper/node/runtime"
)

// Request describes a process with its streams. ctx ends with the stream.
func Request(ctx context.Context, command []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) runtime.Exec {
	e := runtime.Exec{Command: command, TTY: tty, Stdin: in, Resize: sizes(ctx, resize)}
	if out != nil {
		e.Stdout = out
	}
	if errOut != nil && !tty {
		e.Stderr = errOut
	}
	return e
}

func sizes(ctx context.Context, in <-chan remotecommand.TerminalSize) <-chan runtime.Size {
	if in == nil {
		return nil
	}
	out := make(chan runtime.Size, 1)
	go func() { // ends with the stream: the library closes in, or ctx ends
		defer close(out)
		for {
			select {
			case s, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- runtime.Size{Width: s.Width, Height: s.Height}:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
