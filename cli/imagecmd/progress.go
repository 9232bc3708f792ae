package imagecmd

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress shows what a command is doing once that takes over a second: on a terminal in one line that it
// wipes at the end, elsewhere as a line per step.
type progress struct {
	w        io.Writer
	terminal bool
	done     chan struct{}
	wg       sync.WaitGroup

	mu    sync.Mutex
	text  string
	shown string
}

func startProgress(w io.Writer, text string) *progress {
	p := &progress{w: w, terminal: isTerminal(w), text: text, done: make(chan struct{})}
	p.wg.Go(p.run)
	return p
}

func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
}

func (p *progress) stop() {
	close(p.done)
	p.wg.Wait()
}

func (p *progress) run() {
	start := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			if p.terminal && p.shown != "" {
				fmt.Fprint(p.w, "\r\x1b[K")
			}
			return
		case now := <-tick.C:
			p.show(now.Sub(start))
		}
	}
}

func (p *progress) show(took time.Duration) {
	p.mu.Lock()
	text := p.text
	p.mu.Unlock()
	switch {
	case p.terminal:
		fmt.Fprintf(p.w, "\r\x1b[K%s (%d s)", text, int(took.Seconds()))
	case text != p.shown:
		fmt.Fprintln(p.w, text)
	}
	p.shown = text
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
