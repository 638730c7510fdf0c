import { Page } from "../ui";

export function Logs() {
  return <Page title="Logs"><p /></Page>;
}
