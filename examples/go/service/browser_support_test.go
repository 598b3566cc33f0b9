package main

import (
	"fmt"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
)

// complaint returns what the browser has to say about scripts, policies and files, if event is
// that.
func complaint(event any) (text string, bad bool) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		return e.ExceptionDetails.Error(), true
	case *log.EventEntryAdded:
		return fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text), e.Entry.Level == log.LevelError
	}
	return "", false
}

// awaited lets a script answer with a promise.
func awaited(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }
