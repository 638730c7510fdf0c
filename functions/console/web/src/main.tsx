import { render } from "preact";
import "./style.css"; // first, so that pages have the last word on what is theirs
import { App } from "./app";

const root = document.getElementById("app");
if (root) render(<App />, root);
