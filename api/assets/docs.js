// The reader's own preference decides between light and dark, also when it changes.
const page = document.querySelector("rapi-doc");
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = () => {
  page.setAttribute("theme", dark.matches ? "dark" : "light");
  page.setAttribute("bg-color", dark.matches ? "#14161a" : "#ffffff");
  page.setAttribute("text-color", dark.matches ? "#d8dbe0" : "#22262c");
  page.setAttribute("nav-bg-color", dark.matches ? "#1b1e24" : "#f6f7f9");
  page.setAttribute("primary-color", dark.matches ? "#7aa2ff" : "#2f5fd0");
};
dark.addEventListener("change", colour);
colour();
