// The sheet of a section, saved as a file.
import { download, type Request } from "../../api";
import { useAction } from "../../query";
import { Button, Failure, notify } from "../../ui";

export function useSheet(path: string, query: NonNullable<Request["query"]>, name: string) {
  const save = useAction(async () => {
    const whole = await download(path, query, name);
    notify(whole ? name + " is saved" : name + " is saved with the newest rows: there are too many for one file");
  });
  const run = () => void save.run();
  return {
    button: <Button icon="download" busy={save.busy} onClick={run}>Download CSV</Button>,
    failure: save.error && <Failure error={save.error} what="download the sheet" started onRetry={run} />,
  };
}
