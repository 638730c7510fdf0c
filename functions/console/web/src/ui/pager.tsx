import { Button } from "./button";

/** Steps through pages that a cursor leads to. */
export function Pager({ label, text, onPrevious, onNext }: { label: string; text?: string; onPrevious?: () => void; onNext?: () => void }) {
  if (!onPrevious && !onNext && !text) return null;
  return (
    <nav class="pager" aria-label={label}>
      <span role="status">{text}</span>
      <Button icon="left" disabled={!onPrevious} onClick={onPrevious}>Previous</Button>
      <Button disabled={!onNext} onClick={onNext}>Next</Button>
    </nav>
  );
}
