// Fills the elements marked data-say with values that only the running page knows.
// Every page is complete without this script.

const say = (name, text) => {
  for (const element of document.querySelectorAll(`[data-say="${name}"]`)) {
    element.textContent = text;
  }
};

const promises = document.querySelectorAll("#promises .numbered > li").length;

say("module", `The module ran: ${promises} promises counted.`);
say("origin", location.origin);
say("path", `The path is ${location.pathname}`);
