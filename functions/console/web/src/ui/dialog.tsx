import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import type { ApiError } from "../api";
import { Button } from "./button";
import { ErrorSummary } from "./field";

interface Props {
  title: string;
  /** The person wants it closed: by Esc, by a click outside, by the button. */
  onClose: () => void;
  /** false: Esc and a click outside do nothing; the contents have a way out of their own. */
  dismissible?: boolean;
  wide?: boolean;
  children: ComponentChildren;
}

/** A modal: the browser's own dialog keeps the focus in it and gives it back afterwards. */
export function Dialog({ title, onClose, dismissible = true, wide, children }: Props) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const opener = document.activeElement as HTMLElement | null;
    ref.current?.showModal();
    // While the dialog is there, what is outside of it cannot have the focus.
    return () => void setTimeout(() => opener?.isConnected && opener.focus());
  }, []);
  return (
    <dialog ref={ref} class={wide ? "wide" : ""} aria-labelledby={id}
      onCancel={(e) => {
        e.preventDefault();
        if (dismissible) onClose();
      }}
      // A second request to close cannot be refused: a back gesture's, for one. What is still
      // wanted then is opened again.
      onClose={() => {
        if (dismissible) onClose();
        setTimeout(() => ref.current?.isConnected && !ref.current.open && ref.current.showModal());
      }}
      // Chromium closes at the second Esc whatever the first one was told.
      onKeyDown={(e) => e.key === "Escape" && !dismissible && e.preventDefault()}
      onMouseDown={(e) => dismissible && e.target === ref.current && onClose()}>
      <div class="dialog">
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  /** The word on the button: what will be done. */
  action: string;
  danger?: boolean;
  busy: boolean;
  error?: ApiError;
  /** What is asked because of the error. */
  then?: ComponentChildren;
  /** false: not yet, something must be typed or chosen first. */
  ready?: boolean;
  onConfirm: () => void;
  onClose: () => void;
  /** What stops working, and when. */
  children: ComponentChildren;
}

/** Asks before something is done. */
export function Confirm({ title, action, danger, busy, error, then, ready = true, onConfirm, onClose, children }: ConfirmProps) {
  return (
    <Dialog title={title} onClose={onClose} dismissible={!busy}>
      <form onSubmit={(e) => {
        e.preventDefault();
        if (ready && !busy) onConfirm();
      }}>
        {children}
        {error && <ErrorSummary text={error.message} />}
        {then}
        <div class="actions">
          <Button onClick={onClose} disabled={busy}>Cancel</Button>
          <Button type="submit" variant={danger ? "danger" : "primary"} busy={busy} disabled={!ready}>{action}</Button>
        </div>
      </form>
    </Dialog>
  );
}
