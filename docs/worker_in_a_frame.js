// The search runs in a worker. Browsers start no workers for pages that are read from a folder: there it runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const element = Object.assign(document.createElement("iframe"), { hidden: true });
      document.body.append(element);
      const frame = element.contentWindow;
      frame.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.frame = new Promise((loaded) => {
        const script = frame.document.createElement("script");
        script.src = url;
        script.onload = () => loaded(frame);
        frame.document.body.append(script);
      });
    }
    async postMessage(data) {
      const frame = await this.frame;
      frame.dispatchEvent(new frame.MessageEvent("message", { data }));
    }
  };
}
