"""The peer of `benchmarks.serving`: the same network behind FastAPI and PyTorch, as both document it.

`python -m benchmarks.serving_peer MODEL PORT`
"""

import sys
from typing import Any


def main() -> None:
    import torch  # pyright: ignore[reportMissingImports]
    import uvicorn
    from fastapi import FastAPI  # pyright: ignore[reportMissingImports]
    from pydantic import BaseModel
    from torch import nn  # pyright: ignore[reportMissingImports]

    import mlpax

    torch.set_num_threads(1)  # its threads would take the cores of the event loop
    model = mlpax.load(sys.argv[1])
    layers: list[Any] = []
    for W, b in model.params:
        layer = nn.Linear(*W.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(W.T.copy()))
            layer.bias.copy_(torch.from_numpy(b))
        layers += [layer, nn.ReLU()]
    network = nn.Sequential(*layers[:-1]).eval()
    shift, scale = model.scaling
    classes = [str(label) for label in model.classes]

    class Request(BaseModel):
        rows: list[list[float]]

    async def predict(request: Request) -> Any:
        with torch.inference_mode():
            X = (torch.tensor(request.rows) - shift) * scale
            p = torch.softmax(network(X), 1).tolist()
        return {
            "predictions": [
                {
                    "prediction": classes[max(range(len(row)), key=row.__getitem__)],
                    "probabilities": dict(zip(classes, row, strict=True)),
                }
                for row in p
            ]
        }

    app: Any = FastAPI()
    app.post("/predict")(predict)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
